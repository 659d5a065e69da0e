"""memolist-tts: speaks the phrases of Memolist's cards and stores them as MP3."""
