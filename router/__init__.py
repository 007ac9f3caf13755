"""The gateway: the line of stages around the pure decision, and the effects at its edges."""
