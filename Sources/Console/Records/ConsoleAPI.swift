import Simulators
import Wire

/// Beckon's HTTP API, as the console reads it. Every page asks for one thing by its exact key, so no search can slow the
/// store down.
struct ConsoleAPI: Sendable {
    /// Nil: no key is configured, or Beckon is still starting.
    let client: @Sendable () -> BackendClient?

    /// Most lines of a list.
    static let most = 100

    /// - Parameter path: with everything escaped.
    /// - Throws: ``ConsoleRefusal`` with the API's own words.
    func get(_ path: String) async throws -> JSONValue { try await call("GET", path) }

    /// Like ``get(_:)``, for an act.
    func post(_ path: String, _ form: [(name: String, value: String)]) async throws -> JSONValue {
        try await call("POST", path, form)
    }

    private func call(
        _ method: String, _ path: String, _ form: [(name: String, value: String)]? = nil
    ) async throws -> JSONValue {
        guard let client = client() else {
            throw ConsoleRefusal(
                status: 503, message: "The console reads no API: set console.apiUrl and console.apiKey.")
        }
        do {
            let reply = try await client.request(method, path: path, form: form)
            return try JSONParser.parse(Array(reply.body.utf8), .reply)
        } catch let error as BackendError {
            switch error.status {
            case 404: throw ConsoleRefusal(status: 404, message: "Beckon does not know it. Check the SID.")
            case 401, 403:
                throw ConsoleRefusal(
                    status: 502, message: "The console's key may not do this: \(error.message)")
            case 0: throw ConsoleRefusal(status: 502, message: "The API does not answer.")
            default: throw ConsoleRefusal(status: 502, message: "The API says: \(error.message)")
            }
        } catch let problem as JSONProblem {
            throw ConsoleRefusal(status: 502, message: "The API's answer cannot be read: \(problem)")
        }
    }

    /// The services of the account: SID and name.
    func services() async throws -> [(sid: String, name: String)] {
        try await get("/v2/Services?PageSize=\(Self.most)")["services"]?.elements?.compactMap { service in
            service["sid"]?.stringValue.map { ($0, service["friendly_name"]?.stringValue ?? "") }
        } ?? []
    }

    func list(_ name: String, _ path: String) async throws -> [JSONValue] {
        try await page(name, path, size: Self.most).items
    }

    /// One page of a list, and the path of the next one.
    func page(_ name: String, _ path: String, size: Int) async throws -> (items: [JSONValue], next: String?) {
        try await next(name, path + (path.contains("?") ? "&" : "?") + "PageSize=\(size)")
    }

    /// - Parameter path: as ``page(_:_:size:)`` returned it.
    func next(_ name: String, _ path: String) async throws -> (items: [JSONValue], next: String?) {
        let found = try await get(path)
        // Only the query: the API may have another address for its callers.
        let query = found["meta"]?["next_page_url"]?.stringValue.flatMap { url in
            url.firstIndex(of: "?").map { url[$0...] }
        }
        return (found[name]?.elements ?? [], query.map { String(path.prefix { $0 != "?" }) + $0 })
    }

    static func person(_ service: String, _ identity: String) -> String {
        "/v2/Services/\(Percent.encode(service))/Entities/\(Percent.encode(identity))"
    }
}

extension JSONValue {
    /// A time of the API in epoch milliseconds.
    func time(_ name: String) -> Int64? { self[name]?.stringValue.flatMap { Timestamp.epochMs($0) } }

    /// A text, or a dash.
    func word(_ name: String) -> String { self[name]?.stringValue ?? "–" }
}
