-- Tokens to reset a password with: one for each user at most, as a hash.

CREATE TABLE reset_tokens (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE,
    expires_at BIGINT NOT NULL
);
