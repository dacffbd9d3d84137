"""Try to make the command line mislead, stumble or leave litter; see docs/reliability.md."""
