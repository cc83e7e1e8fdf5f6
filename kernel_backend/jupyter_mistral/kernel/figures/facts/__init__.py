"""What is known about one series of a figure: a frozen dataclass for each kind. Imports no reader and no wording."""
