"""The part that runs in the user's kernel: magics, variables, figures, client, display, widget. No torch, no jupyter_server."""
