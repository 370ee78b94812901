"""Every decoder under a flood of broken input: `make fuzz`."""
