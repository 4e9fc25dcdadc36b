import CLibPQ
public import Challenges
import Foundation

/// How to reach a PostgreSQL database: a `postgresql://` URL with what it leaves out added. Holds the password, so that
/// it describes itself without it.
public struct PostgresSettings: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// One of the URL's hosts, with everything that libpq needs to reach it.
    struct Target: Sendable {
        /// For messages: `db1:5432`.
        let name: String
        /// Keywords of libpq.
        fileprivate(set) var parameters: [String: String]
    }

    /// In the URL's order.
    private(set) var targets: [Target]
    /// Connections that are kept open, 1 to 500.
    public var connections = 16
    /// Callers of a kind (creations; other requests) that may wait for one of them, per connection; more are refused.
    public var waitersPerConnection = 4
    /// For a statement's answer.
    public var statementDeadline: Duration = .seconds(5)
    /// For a whole transaction with its repetitions.
    public var requestDeadline: Duration = .seconds(8)
    /// For a free connection. Whoever is refused comes again, behind all that wait then: waiting costs the server less.
    public var acquireDeadline: Duration = .seconds(3)
    /// For one host to take a connection.
    public var connectDeadline: Duration = .seconds(3)
    /// For how long a connection is used, give or take a fifth: a net for changes behind a name that no error tells of.
    public var connectionAge: Duration = .seconds(450)

    /// - Parameters:
    ///   - url: `postgresql://user@host1:5432,host2/database?sslrootcert=…`, with any keyword of libpq as a parameter.
    ///     Left out, `target_session_attrs` is `read-write`, and `sslmode` is `verify-full`, or libpq's own default
    ///     when every host is a socket's folder or a loopback address.
    ///   - password: nil: the URL's, or that of its `passfile`.
    /// - Throws: ``StoreError/failed(_:)`` for a URL that libpq does not understand; the message does not repeat the
    ///   URL.
    public init(url: String, password: String? = nil) throws(StoreError) {
        guard url.hasPrefix("postgresql://") || url.hasPrefix("postgres://") else {
            throw .failed("the store's URL: expected postgresql://user@host/database")
        }
        var values = try Self.parsed(url)
        if let password { values["password"] = password }
        for key in ["target_session_attrs", "sslmode"] where values[key] == nil {
            // libpq reads these from its environment, which would pass our own defaults by.
            values[key] = ProcessInfo.processInfo.environment["PG" + key.replacing("_", with: "").uppercased()]
        }
        let hosts = Self.list(values["host"])
        let addresses = Self.list(values["hostaddr"])
        let ports = Self.list(values["port"])
        let count = max(hosts.count, addresses.count, 1)
        guard [hosts.count, addresses.count].allSatisfy({ $0 == 0 || $0 == count }),
            ports.count <= 1 || ports.count == count
        else { throw .failed("the store's URL: expected as many ports and addresses as hosts, or one port") }
        let isLocal = (0..<count).allSatisfy { index in
            let name = addresses.isEmpty ? hosts.isEmpty ? "" : hosts[index] : addresses[index]
            return name.isEmpty || name.hasPrefix("/") || name.hasPrefix("@") || Self.loopback.contains(name)
        }
        let defaults = [
            "target_session_attrs": "read-write", "application_name": Self.application, "client_encoding": "UTF8",
            "gssencmode": "disable", "keepalives_idle": "10", "keepalives_interval": "3", "keepalives_count": "3",
            "tcp_user_timeout": "10000",
        ]
        values.merge(defaults) { given, _ in given }
        // The statements' texts and the answers are UTF-8.
        values["client_encoding"] = "UTF8"
        if !isLocal, values["sslmode"] == nil { values["sslmode"] = "verify-full" }
        targets = (0..<count).map { index in
            var own = values
            if !hosts.isEmpty { own["host"] = hosts[index] }
            if !addresses.isEmpty { own["hostaddr"] = addresses[index] }
            if !ports.isEmpty { own["port"] = ports.count == 1 ? ports[0] : ports[index] }
            let host = own["host"].flatMap { $0.isEmpty ? nil : $0 } ?? own["hostaddr"] ?? "local socket"
            let port = own["port"].flatMap { $0.isEmpty ? nil : $0 } ?? "5432"
            return Target(name: "\(host):\(port)", parameters: own)
        }
    }

    /// The same with a name that the server lists its sessions under, unless the URL has one.
    func named(_ application: String) -> PostgresSettings {
        var named = self
        for index in targets.indices where targets[index].parameters["application_name"] == Self.application {
            named.targets[index].parameters["application_name"] = application
        }
        return named
    }

    /// What the server lists our sessions under.
    static let application = "beckon"

    public var holdsPassword: Bool { targets.contains { $0.parameters["password"] != nil } }

    /// The hosts and the database.
    public var description: String {
        let names = targets.map(\.name).joined(separator: ",")
        return "postgresql://\(names)/\(targets[0].parameters["dbname"] ?? "")"
    }

    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }

    private static let loopback: Set<String> = ["localhost", "127.0.0.1", "::1"]

    private static func list(_ text: String?) -> [String] {
        guard let text, !text.isEmpty else { return [] }
        return text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    private static func parsed(_ url: String) throws(StoreError) -> [String: String] {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url, &message) else {
            // libpq's message may repeat a part of the URL, and a password with it.
            PQfreemem(message)
            throw .failed(
                "the store's URL: libpq does not understand it; expected postgresql://user@host:port/database?keyword=value "
                    + "with reserved characters percent-encoded")
        }
        defer { PQconninfoFree(options) }
        var values: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        return values
    }
}
