export const SCHEMA = `
CREATE TABLE users (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL,
  email      TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL
);
CREATE TABLE projects (
  id       INTEGER PRIMARY KEY,
  name     TEXT NOT NULL,
  owner_id INTEGER NOT NULL REFERENCES users (id)
);
CREATE TABLE tasks (
  id          INTEGER PRIMARY KEY,
  project_id  INTEGER NOT NULL REFERENCES projects (id),
  assignee_id INTEGER REFERENCES users (id),
  title       TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  status      TEXT NOT NULL CHECK (status IN ('open', 'in progress', 'blocked', 'done')),
  priority    TEXT NOT NULL,
  due_on      TEXT,
  created_at  TEXT NOT NULL
);
CREATE INDEX tasks_by_assignee ON tasks (assignee_id, status);
CREATE INDEX tasks_by_due ON tasks (due_on);
CREATE TABLE comments (
  id         INTEGER PRIMARY KEY,
  task_id    INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  author_id  INTEGER NOT NULL REFERENCES users (id),
  body       TEXT NOT NULL,
  created_at TEXT NOT NULL
);
CREATE INDEX comments_by_task ON comments (task_id);
CREATE TABLE task_history (
  id         INTEGER PRIMARY KEY,
  task_id    INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  changed_by INTEGER NOT NULL REFERENCES users (id),
  change     TEXT NOT NULL,
  changed_at TEXT NOT NULL
);
CREATE INDEX history_by_task ON task_history (task_id);
`
