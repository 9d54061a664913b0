"""What a model learned: maps, traversals and neighbours."""
