"""How far a surface lies from a true one."""
