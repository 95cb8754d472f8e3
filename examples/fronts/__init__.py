"""What the examples' fronts share: how they refuse, how they read bodies, their documentation, and their database's password."""
