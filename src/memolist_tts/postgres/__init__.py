"""PostgreSQL: every SQL statement of the project, named, in explicit short transactions."""
