"""All heads of a model over many texts, in a table, figures and one page: `regard look`."""
