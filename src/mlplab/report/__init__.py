"""What a sweep has taught: its findings, leaderboard, pictures and page."""
