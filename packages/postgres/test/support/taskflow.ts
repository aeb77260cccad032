// A schema as an application like TaskFlow has it after some years of migrations: something of everything that a dump
// has to carry, under names that need their quotes.

const LONGEST = 'n'.repeat(63)

/** `prefix` tells the roles of one test apart: roles belong to the whole server. */
export const taskflowSchema = (prefix: string): string => `
  CREATE ROLE "${prefix} Owner";
  CREATE ROLE "${prefix}_reader";
  CREATE EXTENSION pgcrypto;
  CREATE EXTENSION citext;
  CREATE EXTENSION hstore;
  CREATE SCHEMA "Task Flow" AUTHORIZATION "${prefix} Owner";
  COMMENT ON SCHEMA "Task Flow" IS 'it''s "quoted" \\ and so on';
  CREATE TYPE "Task Flow".state AS ENUM ('open', 'in progress', 'done');
  CREATE DOMAIN "Task Flow"."E-mail" AS citext CHECK (VALUE LIKE '%@%');
  CREATE TABLE "Task Flow"."Person" (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "full name" text NOT NULL,
    email "Task Flow"."E-mail" UNIQUE,
    initials text GENERATED ALWAYS AS (left("full name", 1)) STORED,
    secret bytea,
    extra hstore
  );
  CREATE TABLE "Task Flow".task (
    id bigint NOT NULL, person int REFERENCES "Task Flow"."Person" ON DELETE CASCADE,
    state "Task Flow".state NOT NULL DEFAULT 'open', created timestamptz NOT NULL,
    title text NOT NULL, tags text[], PRIMARY KEY (id, created)
  ) PARTITION BY RANGE (created);
  CREATE TABLE "Task Flow".task_2025 PARTITION OF "Task Flow".task FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
  CREATE TABLE "Task Flow".task_2026 PARTITION OF "Task Flow".task FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
  CREATE INDEX ON "Task Flow".task (lower(title));
  CREATE SEQUENCE "Task Flow"."Seq;--" START 7 INCREMENT 5;
  SELECT nextval('"Task Flow"."Seq;--"');
  CREATE TABLE "Task Flow"."über ""naïve"" 表.*?" ("größe" numeric(10,2), "a.b" json, "tab	and
newline" text);
  CREATE TABLE public.${LONGEST} (v int);
  CREATE TABLE public.empty ();
  CREATE UNLOGGED TABLE public.cache (k text PRIMARY KEY, v jsonb);
  CREATE VIEW "Task Flow".open_tasks AS SELECT id, title FROM "Task Flow".task WHERE state = 'open';
  CREATE MATERIALIZED VIEW "Task Flow".counts AS SELECT state, count(*) FROM "Task Flow".task GROUP BY 1;
  CREATE FUNCTION "Task Flow".touch() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN NEW.title := trim(NEW.title); RETURN NEW; END $f$;
  CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON "Task Flow".task FOR EACH ROW EXECUTE FUNCTION "Task Flow".touch();
  CREATE PROCEDURE public.nothing() LANGUAGE sql AS 'SELECT 1';
  ALTER TABLE "Task Flow"."Person" ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON "Task Flow"."Person" USING ("full name" = current_user);
  GRANT USAGE ON SCHEMA "Task Flow" TO "${prefix}_reader";
  GRANT SELECT ("full name"), UPDATE (extra) ON "Task Flow"."Person" TO "${prefix}_reader";
  ALTER DEFAULT PRIVILEGES IN SCHEMA "Task Flow" GRANT SELECT ON TABLES TO "${prefix}_reader";
  ALTER TABLE "Task Flow".task OWNER TO "${prefix} Owner";
  INSERT INTO "Task Flow"."Person" ("full name", email, secret, extra)
    SELECT 'Person ' || i, 'P' || i || '@example.org', gen_random_bytes(16), hstore('n', i::text)
    FROM generate_series(1, 50) i;
  INSERT INTO "Task Flow".task SELECT i, 1 + i % 50, (ARRAY['open', 'in progress', 'done'])[1 + i % 3]::"Task Flow".state,
    timestamptz '2025-06-01' + i * interval '3 hours', ' Call customer ' || i || E' \\t\\n ', ARRAY['a,b', '"', NULL]
    FROM generate_series(1, 3000) i;
  REFRESH MATERIALIZED VIEW "Task Flow".counts;
  INSERT INTO "Task Flow"."über ""naïve"" 表.*?" VALUES (1.50, '{"a": [1, null]}', E'\\\\.\\n\\\\N'), (NULL, NULL, '');
  INSERT INTO public.${LONGEST} SELECT generate_series(1, 10);
  INSERT INTO public.cache VALUES ('k', '{}');
  SELECT lo_from_bytea(4711, decode(repeat('00ff10', 5000), 'hex')), lo_from_bytea(4712, '');
  COMMENT ON LARGE OBJECT 4711 IS 'a picture';
`

/** All that the schema above holds, as text that is the same for the same content: structure, data and privileges. */
export const FINGERPRINT = `
  SELECT 'table', c.oid::regclass::text, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text, c.relpersistence::text
    FROM pg_class c WHERE c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL SELECT 'column', attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod),
    attacl::text, attgenerated::text || attidentity::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
    WHERE attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm')
    AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), '', '' FROM pg_constraint
    WHERE conrelid <> 0 OR contypid <> 0
  UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid::text, '', '' FROM pg_index i
    JOIN pg_class c ON c.oid = indrelid WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'pg_toast')
  UNION ALL SELECT 'view', c.oid::regclass::text, pg_get_viewdef(c.oid), '', '', '' FROM pg_class c
    WHERE relkind IN ('v', 'm') AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
  UNION ALL SELECT 'function', oid::regprocedure::text, md5(pg_get_functiondef(oid)), pg_get_userbyid(proowner), '', ''
    FROM pg_proc WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema') AND prokind IN ('f', 'p')
  UNION ALL SELECT 'trigger', tgrelid::regclass::text, pg_get_triggerdef(oid), '', '', '' FROM pg_trigger
    WHERE NOT tgisinternal
  UNION ALL SELECT 'policy', polrelid::regclass::text, polname::text, pg_get_expr(polqual, polrelid), '', '' FROM pg_policy
  UNION ALL SELECT 'enum', enumtypid::regtype::text, enumlabel::text, enumsortorder::text, '', '' FROM pg_enum
  UNION ALL SELECT 'schema', nspname::text, pg_get_userbyid(nspowner), nspacl::text, obj_description(oid, 'pg_namespace'), ''
    FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'default acl', defaclrole::regrole::text, defaclacl::text, '', '', '' FROM pg_default_acl
  UNION ALL SELECT 'extension', extname::text, extversion, '', '', '' FROM pg_extension
  UNION ALL SELECT 'large object', m.oid::text, md5(lo_get(m.oid)), obj_description(m.oid, 'pg_largeobject'), '', ''
    FROM pg_largeobject_metadata m
  UNION ALL SELECT 'sequence', schemaname || sequencename, last_value::text, increment_by::text, start_value::text, ''
    FROM pg_sequences
  UNION ALL SELECT 'rows', 'Person', md5(string_agg(p::text, '|' ORDER BY id)), '', '', '' FROM "Task Flow"."Person" p
  UNION ALL SELECT 'rows', 'task', md5(string_agg(t::text, '|' ORDER BY id)), '', '', '' FROM "Task Flow".task t
  UNION ALL SELECT 'rows', 'counts', md5(string_agg(c::text, '|' ORDER BY state)), '', '', '' FROM "Task Flow".counts c
  UNION ALL SELECT 'rows', 'naïve', string_agg(u::text, '|' ORDER BY "größe"), '', '', ''
    FROM "Task Flow"."über ""naïve"" 表.*?" u
  UNION ALL SELECT 'rows', 'cache', md5(string_agg(c::text, '|')), '', '', '' FROM public.cache c
  ORDER BY 1, 2, 3, 4, 5, 6`
