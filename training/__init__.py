"""How the weights that the package ships are made: drawn scenes, examples, the training itself. See README.md here."""
