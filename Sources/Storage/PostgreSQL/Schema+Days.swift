/// Partitions by day.
///
/// They are made and dropped by two functions that run with the rights of the schema's owner, so that a Producer needs
/// no right to change tables. Whoever calls them meets nobody: an advisory lock lets one call through at a time.
extension PostgresSchema {
    static let days = [
        // family: `challenges` or `audit`. day_ms: its first millisecond, UTC.
        """
        CREATE TABLE partition_days (
            family text COLLATE "C" NOT NULL, day_ms bigint NOT NULL, PRIMARY KEY (family, day_ms)
        )
        """,
        // A table is made beside its parent and attached, which stops neither readers nor writers; CREATE … PARTITION
        // OF would.
        """
        CREATE FUNCTION make_partition(parent text, day_ms bigint, low text, high text) RETURNS void
        LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
        DECLARE
            part text := parent || '_' || to_char(to_timestamp(day_ms / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
        BEGIN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING INDEXES)', part, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
        END $$
        """,
        """
        CREATE FUNCTION make_days(from_ms bigint, until_ms bigint) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
        DECLARE
            day bigint := from_ms - from_ms % 86400000;
            next bigint;
            parent text;
        BEGIN
            PERFORM pg_advisory_xact_lock(\(advisoryLock), 1);
            WHILE day <= until_ms LOOP
                next := day + 86400000;
                IF NOT EXISTS (SELECT 1 FROM partition_days d WHERE d.family = 'challenges' AND d.day_ms = day) THEN
                    FOREACH parent IN ARRAY ARRAY['challenges', 'challenge_targets', 'delivery_facts', 'code_attempts'] LOOP
                        PERFORM make_partition(
                            parent, day, 'YC03' || lpad(to_hex(day), 12, '0'), 'YC03' || lpad(to_hex(next), 12, '0'));
                    END LOOP;
                    INSERT INTO partition_days VALUES ('challenges', day);
                END IF;
                IF NOT EXISTS (SELECT 1 FROM partition_days d WHERE d.family = 'audit' AND d.day_ms = day) THEN
                    PERFORM make_partition('audit_traffic', day, day::text, next::text);
                    INSERT INTO partition_days VALUES ('audit', day);
                END IF;
                day := next;
            END LOOP;
        END $$
        """,
        // A drop waits for whoever reads the table, and everybody who comes then waits behind it: not for long, and
        // again later.
        """
        CREATE FUNCTION drop_days(ended_family text, until_ms bigint) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '300ms' AS $$
        DECLARE
            day bigint;
            suffix text;
            is_live boolean := false;
        BEGIN
            IF NOT pg_try_advisory_xact_lock(\(advisoryLock), 1) THEN RETURN; END IF;
            FOR day IN SELECT d.day_ms FROM partition_days d
                WHERE d.family = ended_family AND d.day_ms + 86400000 <= until_ms ORDER BY d.day_ms LIMIT 31
            LOOP
                suffix := '_' || to_char(to_timestamp(day / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
                IF ended_family = 'challenges' THEN
                    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE status = ''pending'')', 'challenges' || suffix)
                        INTO is_live;
                    CONTINUE WHEN is_live;
                    EXECUTE format(
                        'DROP TABLE %I, %I, %I, %I', 'challenges' || suffix, 'challenge_targets' || suffix,
                        'delivery_facts' || suffix, 'code_attempts' || suffix);
                ELSE
                    EXECUTE format('DROP TABLE %I', 'audit_traffic' || suffix);
                END IF;
                DELETE FROM partition_days d WHERE d.family = ended_family AND d.day_ms = day;
            END LOOP;
        EXCEPTION WHEN lock_not_available THEN RETURN;
        END $$
        """,
    ]

    /// Step 14. A function that runs with the owner's rights names its tables by their schema, finds no temporary
    /// object of its caller before them, and may be called only by roles that write challenges. A day on which somebody
    /// has built a view keeps no other day from being dropped. One that is being read ends the round: it is the first of
    /// the next one.
    static let daysGuarded = [
        """
        CREATE OR REPLACE FUNCTION drop_days(ended_family text, until_ms bigint) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '300ms' AS $$
        DECLARE
            day bigint;
            suffix text;
            is_live boolean;
        BEGIN
            IF NOT pg_try_advisory_xact_lock(\(advisoryLock), 1) THEN RETURN; END IF;
            FOR day IN SELECT d.day_ms FROM partition_days d
                WHERE d.family = ended_family AND d.day_ms + 86400000 <= until_ms ORDER BY d.day_ms LIMIT 31
            LOOP
                suffix := '_' || to_char(to_timestamp(day / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
                BEGIN
                    IF ended_family = 'challenges' THEN
                        is_live := false;
                        IF to_regclass(format('%I.%I', current_schema(), 'challenges' || suffix)) IS NOT NULL THEN
                            EXECUTE format(
                                'SELECT EXISTS (SELECT 1 FROM %I.%I WHERE status = ''pending'')', current_schema(),
                                'challenges' || suffix) INTO is_live;
                        END IF;
                        CONTINUE WHEN is_live;
                        EXECUTE format(
                            'DROP TABLE IF EXISTS %1$I.%2$I, %1$I.%3$I, %1$I.%4$I, %1$I.%5$I', current_schema(),
                            'challenges' || suffix, 'challenge_targets' || suffix, 'delivery_facts' || suffix,
                            'code_attempts' || suffix);
                    ELSE
                        EXECUTE format('DROP TABLE IF EXISTS %I.%I', current_schema(), 'audit_traffic' || suffix);
                    END IF;
                    DELETE FROM partition_days d WHERE d.family = ended_family AND d.day_ms = day;
                EXCEPTION
                    WHEN lock_not_available THEN RETURN;
                    WHEN dependent_objects_still_exist THEN
                        RAISE LOG 'beckon: day % of % cannot be dropped: %', suffix, ended_family, SQLERRM;
                END;
            END LOOP;
        END $$
        """,
        """
        DO $$
        DECLARE
            called text;
            writer text;
        BEGIN
            FOREACH called IN ARRAY ARRAY[
                'make_partition(text, bigint, text, text)', 'make_days(bigint, bigint)', 'drop_days(text, bigint)']
            LOOP
                -- Not named, pg_temp would be looked into first.
                EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', called, current_schema());
                EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', called);
            END LOOP;
            FOR writer IN
                SELECT r.rolname FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                WHERE c.oid = 'challenges'::regclass AND a.privilege_type = 'INSERT'
            LOOP
                EXECUTE format(
                    'GRANT EXECUTE ON FUNCTION make_days(bigint, bigint), drop_days(text, bigint) TO %I', writer);
            END LOOP;
        END $$
        """,
    ]
}
