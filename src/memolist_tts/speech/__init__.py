"""Text to speech over the official `openai` client: endpoint, chat audio, realtime."""
