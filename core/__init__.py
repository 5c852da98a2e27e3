"""Fine-tuning: settings, data, models, training, chat. Knows torch and peft, never a web page."""
