"""What runs in the Jupyter server: thin and asynchronous. No torch."""
