"""Whether a deployment's walls stand: what is told of them from outside, and what attempts from inside come to."""
