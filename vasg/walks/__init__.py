"""Random walks over the network of users and products (paper, section 3.1)."""
