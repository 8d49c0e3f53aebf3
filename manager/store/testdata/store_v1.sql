-- A store of schema version 1: values in the clear, free pages included.
PRAGMA secure_delete = OFF;
CREATE TABLE meta(
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE kv(
  key BLOB PRIMARY KEY,
  value BLOB NOT NULL,
  mod_revision INTEGER NOT NULL,
  create_revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE change_log(
  revision INTEGER NOT NULL,
  key BLOB NOT NULL,
  deleted INTEGER NOT NULL,
  value BLOB NOT NULL,
  create_revision INTEGER NOT NULL,
  PRIMARY KEY(revision, key)
) WITHOUT ROWID;
INSERT INTO meta VALUES
  ('store_id', '11111111-2222-4333-8444-555555555555'),
  ('schema_version', '1'),
  ('revision', '605'),
  ('compacted', '590');
INSERT INTO kv VALUES
  (CAST('/document/w/GitRepo/a' AS BLOB), CAST('canary-document' AS BLOB),
   605, 1),
  (CAST('/source/w/a' AS BLOB), CAST('canary-source' AS BLOB), 2, 2);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
INSERT INTO kv
SELECT CAST(printf('/desired/c/%04d', i) AS BLOB),
       CAST(printf('canary-%d', i) AS BLOB), i + 2, i + 2
FROM n;
INSERT INTO change_log VALUES
  (603, CAST('/source/w/b' AS BLOB), 0, CAST('canary-gone' AS BLOB), 603),
  (604, CAST('/source/w/b' AS BLOB), 1, x'', 603),
  (605, CAST('/document/w/GitRepo/a' AS BLOB), 0,
   CAST('canary-document' AS BLOB), 1);
-- What was deleted stays in its pages.
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
INSERT INTO change_log
SELECT i, CAST('/desired/c/x' AS BLOB), 0,
       CAST(printf('canary-log-%d', i) AS BLOB), i
FROM n;
DELETE FROM change_log WHERE key = CAST('/desired/c/x' AS BLOB);
