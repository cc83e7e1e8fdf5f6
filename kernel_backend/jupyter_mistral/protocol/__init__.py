"""The messages between our processes, one file for each noun. `wire.py` turns them into bytes, `openapi.json` describes them."""

PROTOCOL = 1
HOME_ENV = "JUPYTER_MISTRAL_HOME"
CONNECTION_ENV = "JUPYTER_MISTRAL_CONNECTION_FILE"
