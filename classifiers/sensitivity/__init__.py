"""What is in the data: detectors, validators and how their findings combine."""
