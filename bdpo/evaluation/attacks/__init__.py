"""Live attacks: adversarial prompts that are searched for against the very model."""
