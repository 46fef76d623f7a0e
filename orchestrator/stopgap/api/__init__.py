"""What `import stopgap` gives: a model in place of the one that TensorFlow 2 cannot load."""
