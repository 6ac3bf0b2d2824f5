"""Fine-tuning: a trained discriminator goes on learning, from the labels at hand."""
