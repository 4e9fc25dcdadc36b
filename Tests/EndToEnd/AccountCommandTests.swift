import AsyncHTTPClient
import ChallengeModel
import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// `beckon account` and `beckon key` as an operator runs them, beside a producer that is running.
@Suite("beckon account and key", .timeLimit(.minutes(10)))
struct AccountCommandTests {
    @Test("accounts and keys are made, listed, rotated and revoked beside a running producer, which follows")
    func life() async throws {
        try await withFolder { folder, environment, store in
            let made = try await line(["account", "create"] + store, environment)
            let account = try #require(made["account_sid"])
            let token = try #require(made["auth_token"])
            #expect(account.contains(#/^AC[0-9a-f]{32}$/#) && token.utf8.count == 64)
            let producer = try BeckonProcess("producer", ["producer"], environment: environment, folder: folder)
            let port = try await listening(producer, environment["BECKON_API_PORT"] ?? "")
            func status(_ user: String, _ password: String, _ method: HTTPMethod = .GET) async throws -> UInt {
                var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/v2/Services")
                request.method = method
                if method == .POST {
                    request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
                    request.body = .bytes(ByteBuffer(string: "FriendlyName=shop"))
                }
                request.setBasicAuth(username: user, password: password)
                return try await HTTPClient.shared.execute(request, timeout: .seconds(60)).status.code
            }
            #expect(try await status(account, token, .POST) == 201)

            let create = ["key", "create", "--account", account, "--role", "read", "--name", "till \"1\""]
            let key = try await line(create + store, environment)
            let (sid, secret) = (try #require(key["sid"]), try #require(key["secret"]))
            #expect(key["role"] == "read" && key["friendly_name"] == "till \"1\"" && key["account_sid"] == account)
            #expect(try await status(sid, secret) == 200)
            #expect(try await status(sid, secret, .POST) == 403, "read reads")

            let rotated = try await line(
                ["account", "rotate", "--account", account, "--keep-former-hours", "0"] + store, environment)
            let newToken = try #require(rotated["auth_token"])
            #expect(newToken != token)
            #expect(try await status(account, newToken) == 200)
            try await becomes(401) { try await status(account, token) }

            #expect(
                try await line(["key", "revoke", "--account", account, "--key", sid] + store, environment)["revoked"]
                    == "true")
            try await becomes(401) { try await status(sid, secret) }
            let listed = try await BeckonProcess.output(
                of: ["key", "list", "--account", account] + store, environment: environment)
            #expect(listed.split(separator: "\n").count == 1 && !listed.contains(secret))
            let shown = try fields(listed)
            #expect(shown["sid"] == sid && shown["date_revoked"]?.hasSuffix("Z") == true && shown["secret"] == nil)
            #expect(await producer.stop() == 0)
            for secret in [token, newToken, secret] { #expect(!producer.output.contains(secret)) }
        }
    }

    @Test(
        "a second producer on a store's file ends and says what to do; the first goes on; killed, it is replaced at once"
    )
    func secondProducer() async throws {
        try await withFolder { folder, environment, _ in
            let first = try BeckonProcess("first", ["producer"], environment: environment, folder: folder)
            let port = try await listening(first, environment["BECKON_API_PORT"] ?? "")
            var elsewhere = environment
            elsewhere["BECKON_API_PORT"] = "\(try BeckonCluster.freePort())"
            let second = try BeckonProcess("second", ["producer"], environment: elsewhere, folder: folder)
            await #expect {
                _ = try await second.ready()
            } throws: { error in
                "\(error)".contains("process \(first.identifier)") && "\(error)".contains("store.path")
            }
            #expect(first.isRunning)
            first.kill()
            while first.isRunning { try await Task.sleep(for: .milliseconds(5)) }
            let third = try BeckonProcess("third", ["producer"], environment: environment, folder: folder)
            _ = try await listening(third, port)
            #expect(await third.stop() == 0)
        }
    }

    @Test("what is wrong is said, with a status of its own, and nothing is made")
    func refusals() async throws {
        try await withFolder { _, environment, store in
            let made = try await line(["account", "create"] + store, environment)
            let account = try #require(made["account_sid"])
            let wrong = [
                ["key", "create", "--account", account, "--role", "admin"], ["key", "create", "--role", "read"],
                ["key", "create", "--account", "AC1", "--role", "read"],
                ["key", "create", "--account", "AC" + String(repeating: "0", count: 32), "--role", "read"],
                ["key", "revoke", "--account", account, "--key", "SK" + String(repeating: "0", count: 32)],
                ["account", "rotate", "--account", account, "--keep-former-hours", "721"],
            ]
            for arguments in wrong {
                await #expect(throws: BeckonProcess.Failure.self, "\(arguments)") {
                    _ = try await BeckonProcess.output(of: arguments + store, environment: environment)
                }
            }
            let unknown = "AC" + String(repeating: "0", count: 32)
            for arguments in [
                ["key", "create", "--account", unknown, "--role", "read"], ["key", "list", "--account", unknown],
                ["account", "rotate", "--account", unknown],
            ] {
                let failure = await #expect(throws: BeckonProcess.Failure.self) {
                    _ = try await BeckonProcess.output(of: arguments + store, environment: environment)
                }
                let text = failure?.description ?? ""
                #expect(
                    text.contains("--account: the store \(store[1]) has no such account")
                        && text.contains("beckon account create"), "\(text)")
            }
            await #expect(throws: BeckonProcess.Failure.self, "without keys") {
                _ = try await BeckonProcess.output(of: ["account", "create"] + store)
            }
            let listed = try await BeckonProcess.output(
                of: ["key", "list", "--account", account] + store, environment: environment)
            #expect(listed.isEmpty)
        }
    }

    @Test(
        "with other store keys every command and the producer end before they write; reseal rotates beside the producer"
    )
    func storeKeys() async throws {
        try await withFolder { folder, environment, store in
            let made = try await line(["account", "create"] + store, environment)
            let (account, token) = (try #require(made["account_sid"]), try #require(made["auth_token"]))
            let (old, new) = (try #require(environment["BECKON_STORE_KEYS"]), KeyRing.random(id: "k2").text)
            for (keys, reason) in [
                (KeyRing.random().text, "key k1 in BECKON_STORE_KEYS is not the key"),
                (new, "BECKON_STORE_KEYS lacks key k1"),
            ] {
                var wrong = environment
                wrong["BECKON_STORE_KEYS"] = keys
                for arguments in [
                    ["account", "create"], ["account", "rotate", "--account", account],
                    ["key", "create", "--account", account, "--role", "read"], ["key", "list", "--account", account],
                    ["key", "revoke", "--account", account, "--key", "SK" + String(repeating: "0", count: 32)],
                    ["secrets", "reseal"], ["producer"],
                ] {
                    let failure = await #expect(throws: BeckonProcess.Failure.self, "\(arguments)") {
                        _ = try await BeckonProcess.output(of: arguments + store, environment: wrong)
                    }
                    #expect(failure?.description.contains(reason) == true, "\(failure?.description ?? "")")
                }
            }
            var both = environment
            both["BECKON_STORE_KEYS"] = "\(new),\(old)"
            let producer = try BeckonProcess("producer", ["producer"], environment: both, folder: folder)
            let port = try await listening(producer, environment["BECKON_API_PORT"] ?? "")
            let lines = try await BeckonProcess.output(of: ["secrets", "reseal"] + store, environment: both)
            let last = try fields(String(try #require(lines.split(separator: "\n").last)))
            #expect(last == ["key": "k2", "resealed": "1", "failed": "0", "retired_keys": "k1"])
            var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/v2/Services")
            request.setBasicAuth(username: account, password: token)
            #expect(try await HTTPClient.shared.execute(request, timeout: .seconds(60)).status.code == 200)
            #expect(await producer.stop() == 0)
            var only = environment
            only["BECKON_STORE_KEYS"] = new
            _ = try await BeckonProcess.output(of: ["key", "list", "--account", account] + store, environment: only)
        }
    }

    private func withFolder(
        _ body: (_ folder: URL, _ environment: [String: String], _ store: [String]) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "beckon.sqlite").path
        let environment = [
            // No Kafka: HTTP is served all the same.
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_RECORD_KEYS": KeyRing.random().text,
            "BECKON_STORE_KEYS": KeyRing.random().text, "BECKON_CONFIGURATION_KEYS": KeyRing.random().text,
            "BECKON_STORE_PATH": path, "BECKON_ADMIN_PORT": "0", "BECKON_API_PORT": "\(try BeckonCluster.freePort())",
        ]
        try await body(folder, environment, ["--store-path", path])
    }

    /// Without Kafka it is never ready, but HTTP is there soon.
    private func listening(_ producer: BeckonProcess, _ port: String) async throws -> String {
        let end = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < end {
            let request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/v2/Services")
            if (try? await HTTPClient.shared.execute(request, timeout: .seconds(5))) != nil { return port }
            guard producer.isRunning else { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw BeckonProcess.Failure(description: "HTTP was not served:\n\(producer.tail)")
    }

    private func line(_ arguments: [String], _ environment: [String: String]) async throws -> [String: String] {
        try fields(try await BeckonProcess.output(of: arguments, environment: environment))
    }

    private func fields(_ text: String) throws -> [String: String] {
        try JSONDecoder().decode([String: String?].self, from: Data(text.utf8)).compactMapValues { $0 }
    }

    /// A running producer follows within two seconds; a busy machine is given more.
    private func becomes(_ status: UInt, _ ask: () async throws -> UInt) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while try await ask() != status {
            guard ContinuousClock.now < end else {
                Issue.record("not \(status) within 90 s")
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
