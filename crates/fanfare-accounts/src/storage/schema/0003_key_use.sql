-- When an API key was last used, as far as its node has written that.

ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
