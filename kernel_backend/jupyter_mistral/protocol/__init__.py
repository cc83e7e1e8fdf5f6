"""Every message that crosses a wall between our processes, one file a noun. How they become bytes is `wire.py`'s business."""

PROTOCOL = 1
HOME_ENV = "JUPYTER_MISTRAL_HOME"
CONNECTION_ENV = "JUPYTER_MISTRAL_CONNECTION_FILE"
