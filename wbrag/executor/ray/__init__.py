"""Where the algorithm runs on Ray: long-lived model actors, and Ray Data passes over rows that call them."""
