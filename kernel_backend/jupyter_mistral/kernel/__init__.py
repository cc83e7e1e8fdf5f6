"""What runs in the user's kernel: magics, namespace, figures, client, display, widget. No torch, no jupyter_server."""
