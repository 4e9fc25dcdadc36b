import ServiceSupport
import Storage

extension Doctor {
    // MARK: 22

    static let storeChecks = [
        Check(
            "store", "The store opens, has this version's schema, and has room", roles: [.producer, .webhooks],
            looks: [.store],
            mistakes: [away, closed, absent, older, newer, full, filling, exposed, tooFew]
        ) { facts in
            guard let name = facts.examination.roles.lazy.compactMap(\.store).first?.name else {
                return .skipped("no role with a store is examined")
            }
            switch facts.store {
            case .not(let because): return .skipped(because)
            case .seen(.failure(.unreachable(let said))): return .found([away.found(said, ["store": name])])
            case .seen(.failure(.refused(let said))): return .found([closed.found(said, ["store": name])])
            case .seen(.success(let store)): return judge(store, name, facts)
            }
        }
    ]

    private static func judge(_ store: StoreFacts, _ name: String, _ facts: Facts) -> Verdict {
        let values = ["store": name]
        var findings: [Finding] = []
        switch store.schema {
        case .served: break
        case .absent where store.file == nil && store.connections == nil:
            // A file that is made when the first producer opens it.
            return .skipped("\(name) does not exist yet; a producer makes it")
        case .absent: findings.append(absent.found("\(name) has no tables of Beckon", values))
        case .older(let said): findings.append(older.found(said, values))
        case .newer(let said): findings.append(newer.found(said, values))
        }
        if let file = store.file {
            let share = "\(Int(file.freeShare * 100)) % (\(file.freeBytes >> 20) MB) of its volume are free"
            if file.freeShare < 0.02 || file.freeBytes < 64 << 20 {
                findings.append(full.found("\(name): \(share)", values))
            } else if file.freeShare < 0.10 {
                findings.append(filling.found("\(name): \(share)", values))
            }
            if file.isReadableByOthers { findings.append(exposed.found("\(name) is readable by others", values)) }
        }
        if let connections = store.connections {
            let wanted = facts.examination.roles.compactMap(\.storeConnections).max() ?? 0
            let free = connections.most - connections.used
            // Those that serve already have theirs.
            if free < wanted, connections.ours == 0 {
                findings.append(
                    tooFew.found(
                        "max_connections allows \(connections.most), \(connections.used) are in use, one role wants \(wanted)",
                        ["store": name, "wanted": "\(wanted)"]))
            }
        }
        return .judged(findings, else: name)
    }

    private static let away = Mistake(
        "unreachable", .unreachable, sees: "the database does not answer, or takes no connection",
        means: "no producer and no webhook relay can start; creations are refused",
        mend: "correct host and port in store.url, start the server, or open the firewall: psql '<store>'")
    private static let closed = Mistake(
        "refused", .failure, sees: "the file or the database cannot be opened or read",
        means: "the store is there, and this user may not read it, or it is damaged",
        mend:
            "correct the path, its owner and its mode, or user and password (BECKON_STORE_PASSWORD) and the rights of the role"
    )
    private static let absent = Mistake(
        "no-schema", .failure, sees: "no tables of Beckon",
        means: "the store <store> is empty, or is another program's",
        mend: "correct store.url or store.path; for an empty PostgreSQL database: beckon migrate up --store-url <store>"
    )
    private static let older = Mistake(
        "schema-older", .failure, sees: "the schema of an earlier version",
        means: "this version cannot serve the store <store> as it is",
        mend:
            "PostgreSQL: beckon migrate up --store-url <store>. SQLite: stop the producer of the earlier version, copy the file, and start this version, which upgrades it"
    )
    private static let newer = Mistake(
        "schema-newer", .failure, sees: "the schema of a later version",
        means: "this version would damage the store <store>",
        mend: "use the version that has migrated the store, or a later one; or restore a copy from before the upgrade")
    private static let full = Mistake(
        "volume-full", .failure, sees: "less than 2 % or 64 MB of the file's volume are free",
        means: "writes will soon be refused: creations get 503",
        mend: "make room on the volume of <store>: df -h <store>")
    private static let filling = Mistake(
        "volume-filling", .warning, sees: "less than 10 % of the file's volume are free",
        means: "the volume fills up",
        mend: "make room on the volume of <store>, or lower store.retentionDays: df -h <store>")
    private static let exposed = Mistake(
        "readable-by-others", .warning, sees: "other users of the machine may read the file",
        means: "identities and messages in <store> are readable to every user of the machine",
        mend: "chmod 0600 <store>*")
    private static let tooFew = Mistake(
        "connections", .warning, sees: "`max_connections` leaves fewer connections than one role wants",
        means: "producers will get fewer connections than store.connections, and creations wait",
        mend:
            "raise max_connections of the server above the sum of store.connections of all roles, or lower store.connections to fewer than <wanted>"
    )
}
