import ArgumentParser
import AsyncHTTPClient
import DeviceKit
import Foundation
import NIOSSL
import Wire

/// The options of commands that call the HTTP API as a backend does. Credentials are never arguments, because every
/// user of the machine can read the arguments of a process.
struct APIOptions: ParsableArguments {
    /// The variables that hold the credentials. They are no settings of a role.
    static let variables = (account: "BECKON_ACCOUNT_SID", token: "BECKON_AUTH_TOKEN")

    @Option(help: "Root of the HTTP API, https://verify.example.com; by default from --credentials.") var url: String?
    @Option(
        help: """
            File with a JSON object that has account_sid and auth_token, as `beckon account create` prints it, or sid and secret, \
            as `beckon key create` does. Without it: BECKON_ACCOUNT_SID and BECKON_AUTH_TOKEN.
            """)
    var credentials: String?
    @Option(help: "PEM file of root certificates that are trusted instead of the system's.") var caFile: String?
    @Option(help: "The service's SID; by default from --credentials.") var service: String?
    @Option(help: "The person's identity; by default from --credentials.") var identity: String?
    @Option(help: "Time limit of each request in seconds, 1 to 300.") var timeout = 30

    func validate() throws {
        guard (1...300).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 300 seconds") }
    }

    /// Runs `body` with the API of these options.
    func with<Value: Sendable>(_ body: (ChallengeAPI) async throws -> Value) async throws -> Value {
        let file = try credentials.map(Self.read) ?? [:]
        let environment = ProcessInfo.processInfo.environment
        func value(_ given: String?, _ names: [String], _ expectation: String) throws -> String {
            if let found = given ?? names.lazy.compactMap({ file[$0] }).first, !found.isEmpty { return found }
            throw CommandFailure(expectation, status: ExitStatus.wrongUse)
        }
        let url = try value(url, ["api"], "--url is missing: expected the root of the HTTP API")
        guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
            throw CommandFailure("--url: expected https://HOST or http://HOST", status: ExitStatus.wrongUse)
        }
        let missing =
            "no credentials: set \(Self.variables.account) and \(Self.variables.token), or --credentials FILE"
        let account = try value(
            credentials == nil ? environment[Self.variables.account] : nil, ["account_sid", "sid"], missing)
        let token = try value(
            credentials == nil ? environment[Self.variables.token] : nil, ["auth_token", "secret"], missing)
        let service = try value(service, ["service_sid"], "--service is missing: expected VA and 32 hexadecimal digits")
        let identity = try value(identity, ["identity"], "--identity is missing: expected the person's identity")
        var configuration = HTTPClient.Configuration()
        if let caFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(caFile)
            configuration.tlsConfiguration = tls
        }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        // An API key is used with its own SID as the user.
        let user = file["secret"] == nil ? account : file["sid"] ?? account
        let root = url.hasSuffix("/") ? String(url.dropLast()) : url
        let api = ChallengeAPI(
            challenges:
                "\(root)/v2/Services/\(Percent.encode(service))/Entities/\(Percent.encode(identity))/Challenges",
            authorization: "Basic " + Base64.encode("\(user):\(token)".utf8), transport: HTTPClientTransport(client),
            timeout: .seconds(timeout))
        do {
            let result = try await body(api)
            try? await client.shutdown()
            return result
        } catch {
            try? await client.shutdown()
            throw error
        }
    }

    private static func read(_ path: String) throws -> [String: String] {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), let tree = try? JSONParser.parse(text),
            let members = tree.members
        else {
            throw CommandFailure(
                "--credentials \(path): expected a readable file with one JSON object", status: ExitStatus.wrongUse)
        }
        return Dictionary(members.compactMap { member in member.value.stringValue.map { (member.name, $0) } }) { $1 }
    }
}

/// The challenges of one person over HTTP.
struct ChallengeAPI: Sendable {
    struct Reply: Sendable {
        let tree: JSONValue
        let tag: String?
        var status: String { tree["status"]?.stringValue ?? "" }
    }

    /// The URL of the person's challenges.
    let challenges: String
    let authorization: String
    let transport: HTTPClientTransport
    let timeout: Duration

    func create(_ form: [(name: String, value: String)], idempotencyKey: String?) async throws -> Reply {
        let headers = idempotencyKey.map { [(name: "Idempotency-Key", value: $0)] } ?? []
        return try await call("POST", challenges, headers, body: Form.encode(form)) ?? Reply(tree: .null, tag: nil)
    }

    func challenge(_ sid: String) async throws -> Reply {
        try await call("GET", "\(challenges)/\(Percent.encode(sid))?Wait=0", []) ?? Reply(tree: .null, tag: nil)
    }

    /// Waits at the server for a change.
    /// - Parameter seconds: 0 to 30.
    /// - Returns: nil when nothing has changed.
    func change(of sid: String, since tag: String, seconds: Int) async throws -> Reply? {
        try await call(
            "GET", "\(challenges)/\(Percent.encode(sid))?Wait=\(seconds)", [(name: "If-None-Match", value: tag)],
            more: .seconds(seconds))
    }

    /// - Returns: nil for 304.
    private func call(
        _ method: String, _ url: String, _ headers: [(name: String, value: String)], body: String? = nil,
        more: Duration = .zero
    ) async throws -> Reply? {
        var all = [(name: "Accept", value: "application/json"), (name: "Authorization", value: authorization)]
        if body != nil { all.append(("Content-Type", "application/x-www-form-urlencoded")) }
        let response: DeviceResponse
        do {
            response = try await transport.send(
                DeviceRequest(method: method, url: url, headers: all + headers, body: body), deadline: timeout + more)
        } catch let error as DeviceError {
            throw CommandFailure("the API does not answer: \(error)", status: ExitStatus.unreachable)
        }
        guard response.status != 304 else { return nil }
        let tree = (try? JSONParser.parse(response.body, .reply)) ?? .null
        guard 200..<300 ~= response.status, tree["sid"] != nil else {
            let code = tree["code"]?.integerValue.map { ", error \($0)" } ?? ""
            throw CommandFailure(
                "the API answers \(response.status)\(code): \(tree["message"]?.stringValue ?? "no challenge")")
        }
        return Reply(tree: tree, tag: response.header("ETag"))
    }
}
