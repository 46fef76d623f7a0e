"""A TF Serving client that needs no TensorFlow: tensors, requests, signatures and a channel to send them through."""
