"""What is asked: task, intent, complexity and access."""
