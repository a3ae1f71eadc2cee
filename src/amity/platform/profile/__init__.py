"""Stage 5: what is known of one person, merged by a policy."""
