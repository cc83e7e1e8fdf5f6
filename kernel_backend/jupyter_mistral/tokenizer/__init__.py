"""A model folder's text tokenizer, chat template and image sizes, for whoever counts tokens or makes them. Knows no torch."""
