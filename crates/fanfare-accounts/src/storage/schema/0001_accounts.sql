-- Users, their sessions, messages and API keys. Times are milliseconds since 1970, ids are UUIDs of version 7, hashes
-- of secrets are SHA-256 in hexadecimal, lists are JSON. Both SQLite and PostgreSQL read this file.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,      -- normalised
    name TEXT,
    password TEXT NOT NULL,          -- a PHC string
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,      -- when the account was last switched on or off
    last_login_at BIGINT,
    disabled_at BIGINT
);
CREATE INDEX users_changed ON users (changed_at);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_agent TEXT,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_of_user ON sessions (user_id, last_used_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE refresh_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    rotated_at BIGINT                -- when another token took its place
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id, created_at);

-- An author or a recipient may be a user of another service, so these ids refer to nothing here.
CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    recipient_id TEXT,
    channel_id TEXT,
    content TEXT NOT NULL,
    attachments TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    published_at BIGINT
);
CREATE INDEX messages_of_author ON messages (user_id, id);
CREATE INDEX messages_to ON messages (recipient_id, id) WHERE recipient_id IS NOT NULL;
CREATE INDEX messages_to_many ON messages (id) WHERE recipient_id IS NULL;
CREATE INDEX messages_unpublished ON messages (id) WHERE published_at IS NULL;

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
