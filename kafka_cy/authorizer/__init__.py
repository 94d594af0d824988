"""Who may do what: ACLs, the index in which they are looked up, and the rules by which they decide."""
