"""What the organisation decided: vocabulary, rules and the pure decision over them."""
