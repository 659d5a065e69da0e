"""`python -m memolist_tts.cli`, where the command isn't installed."""

from memolist_tts.cli import main

main()
