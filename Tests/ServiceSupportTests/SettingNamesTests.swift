import Foundation
import Logging
import ServiceSupport
import Testing

@Suite("Names that are no setting")
struct SettingNamesTests {
    private func refusal(
        _ arguments: [String] = [], _ environment: [String: String] = [:], file: String? = nil
    ) async throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml")
        defer { try? FileManager.default.removeItem(at: path) }
        if let file { try file.write(to: path, atomically: true, encoding: .utf8) }
        let error = await #expect(throws: SettingsError.self) {
            _ = try await Settings(
                role: .producer, arguments: arguments + (file == nil ? [] : ["--config", path.path]),
                environment: environment)
        }
        return error?.description ?? ""
    }

    @Test(
        "a variable that is no setting is refused with the nearest that is",
        arguments: [
            ("BECKON_API_PROT", "BECKON_API_PORT"), ("BECKON_STORE_KEY", "BECKON_STORE_KEYS"),
            ("BECKON_KAFKA_BOOTSTRAP_SERVER", "BECKON_KAFKA_BOOTSTRAP_SERVERS"),
            ("BECKON_LIMITS_QUITE", "BECKON_LIMITS_QUIET"), ("BECKON_KAFKA_SERVICE", "BECKON_PHONE_SERVICE"),
        ])
    func variable(name: String, nearest: String) async throws {
        let text = try await refusal([], [name: "k1:hunter2"])
        #expect(text.contains("\(name) is no setting; did you mean \(nearest)?"), "\(text)")
        #expect(!text.contains("hunter2") && !text.contains("\n"))
    }

    @Test("the variables of service links, those of other programs and those of other roles are passed over")
    func links() async throws {
        let settings = try await Settings(
            role: .producer, arguments: [],
            environment: [
                "BECKON_SERVICE_HOST": "10.0.0.1", "BECKON_PORT": "tcp://10.0.0.1:8080",
                "BECKON_PRODUCER_SERVICE_PORT_HTTP": "8080", "BECKON_PORT_8080_TCP": "tcp://10.0.0.1:8080",
                "BECKON_PORT_8080_TCP_ADDR": "10.0.0.1", "BECKONING": "x", "PATH": "/bin",
                "BECKON_PUSH_THREADS": "2", "BECKON_API_PORT": "1234",
            ])
        #expect(try settings(Settings.apiPort) == 1234)
    }

    @Test(
        "a key of the file that is no setting, and a list or mapping in the place of a value, are refused with what is right",
        arguments: [
            ("api:\n  prot: 8080\n", "key api.prot is no setting; did you mean api.port?"),
            ("api.port: 8080\nadmin:\n  hots: x\n", "key admin.hots is no setting; did you mean admin.host?"),
            ("storekeys: k1:hunter2\n", "key storekeys is no setting; did you mean storeKeys?"),
            ("limit:\n  burst: 3\n", "key limit is no setting; did you mean limits."),
            (
                "kafka:\n  bootstrapServers: [hunter2:1, b:2]\n",
                "key kafka.bootstrapServers is a list; expected one text: host:port,host:port"
            ),
            ("storeKeys:\n  - k1:hunter2\n", "key storeKeys is a list; expected one text: id:base64,id:base64"),
            ("api:\n  port:\n    value: 8080\n", "key api.port is a mapping; expected one text: port"),
            ("kafka: hunter2:9092\n", "key kafka has a value of its own; expected keys below it, kafka."),
            ("kafka:\n  - hunter2:9092\n", "key kafka has a value of its own; expected keys below it, kafka."),
            ("- api\n", "expected a mapping, key: value"), ("just a text\n", "expected a mapping, key: value"),
            ("api: {port: 1\n", "expected a readable YAML mapping"),
            ("api:\n  port: 1\n  port: 2\n", "expected a readable YAML mapping"),
        ])
    func key(file: String, expected: String) async throws {
        let text = try await refusal(file: file)
        #expect(text.hasPrefix("configuration file /") && text.contains(expected), "\(text)")
        #expect(!text.contains("hunter2") && !text.contains("\n"))
    }

    @Test("every key of the documentation is accepted from a file, as a group and dotted, an empty group too")
    func accepted() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml")
        defer { try? FileManager.default.removeItem(at: path) }
        let rows = Settings.all.filter { $0.key != "config" }.map { "\($0.key): 1" }
        try (rows.joined(separator: "\n") + "\n").write(to: path, atomically: true, encoding: .utf8)
        _ = try await Settings(role: .producer, arguments: ["--config", path.path], environment: [:])
        try "api:\nlog:\n  level: debug # for now\n".write(to: path, atomically: true, encoding: .utf8)
        let settings = try await Settings(role: .producer, arguments: ["--config", path.path], environment: [:])
        #expect(try settings(Settings.logLevel) == .debug)
        try "".write(to: path, atomically: true, encoding: .utf8)
        _ = try await Settings(role: .producer, arguments: ["--config", path.path], environment: [:])
    }

    @Test("a flag given twice is refused: the first would be lost without a word")
    func twice() async throws {
        let text = try await refusal(["--kafka-bootstrap-servers", "a:1", "--kafka-bootstrap-servers=b:2"])
        #expect(text == "--kafka-bootstrap-servers is given twice; expected one value: host:port,host:port")
    }
}
