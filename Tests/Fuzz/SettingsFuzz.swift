import Foundation
import KafkaClient
import PushProviders
import ServiceSupport
import TestSupport
import Testing

/// Files, environment and flags with anything in them: each setting is read, or refused with a sentence.
@Suite("Random settings", .timeLimit(.minutes(30)))
struct SettingsFuzz {
    private static let values = [
        "", " ", "0", "-1", "1e9", "9223372036854775807", "9223372036854775808", "true", "yes", "maybe", "k1:AAAA",
        "a=b,c",
        "127.0.0.1:9092", "https://example.com", "https://[::1", "http://", "a:b:c", ",", "=", ":", "/", "~", "null",
        "[1, 2]",
        "{a: b}", "- a", "\"", "'", "&a *a", "!!binary x", "\u{0}", "\u{1F600}", "apn", "10.0.0.0/8,fd00::/129",
        "es256",
    ]

    @Test("every role's settings, from every source")
    func settings() async throws {
        var (read, refused) = (0, 0)
        let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml")
        defer { try? FileManager.default.removeItem(at: file) }
        try await FuzzRun.run("settings", rounds: 300) { generator, seed in
            let role = generator.pick(Role.allCases)
            var arguments: [String] = []
            var environment: [String: String] = [:]
            for about in Settings.all where generator.chance(3) {
                let value = Self.value(&generator)
                // Few flags: one that is refused ends the reading of all.
                switch Int.random(in: 0..<24, using: &generator) {
                case 0..<6: environment[about.environmentName] = value
                case 6 where !about.isSecret:
                    arguments += generator.chance(2) ? [about.flag, value] : ["\(about.flag)=\(value)"]
                default: break
                }
            }
            if generator.chance(8) { arguments.append(generator.pick(["--", "-x", "--no-such", "x", "--=", "="])) }
            if generator.chance(3) {
                try Data(Self.file(&generator)).write(to: file)
                environment["BECKON_CONFIG"] = file.path
            }
            let settings: Settings
            do {
                settings = try await Settings(role: role, arguments: arguments, environment: environment)
            } catch {
                refused += 1
                #expect(error is SettingsError && !"\(error)".isEmpty, "seed \(seed)")
                return
            }
            let (more, less) = Self.readAll(settings, seed: seed)
            read += more
            refused += less
        }
        #expect(read > 100 && refused > 100)
    }

    private static func value(_ generator: inout SeededGenerator) -> String {
        let text = generator.pick(values)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: return String(decoding: generator.broken(Array(text.utf8)), as: UTF8.self)
        case 1: return String(generator.number())
        default: return text
        }
    }

    /// A YAML file: keys that there are, also of the wrong shape, and bytes that are no YAML.
    private static func file(_ generator: inout SeededGenerator) -> [UInt8] {
        var text = ""
        for about in Settings.all where generator.chance(6) {
            let parts = about.key.split(separator: ".")
            for (depth, part) in parts.enumerated() {
                text += String(repeating: "  ", count: depth) + part + ":"
                text += depth == parts.count - 1 ? " \(value(&generator))\n" : "\n"
            }
        }
        if generator.chance(10) { text += String(repeating: generator.pick(["[", "{a: ", "- "]), count: 5000) }
        return generator.chance(3) ? generator.broken(Array(text.utf8)) : Array(text.utf8)
    }

    private static func readAll(_ settings: Settings, seed: UInt64) -> (read: Int, refused: Int) {
        var (taken, refused) = (0, 0)
        func read<Value>(_ setting: Setting<Value>) {
            do throws(SettingsError) {
                _ = try settings.optional(setting)
                taken += 1
            } catch {
                refused += 1
                #expect(error.description.contains("expected"), "seed \(seed): \(error)")
            }
        }
        read(Settings.config)
        read(Settings.logLevel)
        read(Settings.readyFile)
        read(Settings.adminHost)
        read(Settings.adminPort)
        read(Settings.adminToken)
        read(Settings.shutdownTimeout)
        read(Settings.tracingEndpoint)
        read(Settings.tracingRatio)
        read(Settings.tracingHeaders)
        read(Settings.tracingCAFile)
        read(Settings.kafkaServers)
        read(Settings.kafkaEmbedded)
        read(Settings.kafkaProperties)
        read(Settings.topicPrefix)
        read(Settings.recordKeys)
        read(Settings.storeKeys)
        read(Settings.configurationKeys)
        read(Settings.apiHost)
        read(Settings.apiPort)
        read(Settings.apiPublicURL)
        read(Settings.apiCertificate)
        read(Settings.apiKey)
        read(Settings.apiCORSOrigins)
        read(Settings.apiTrustedProxies)
        read(Settings.deviceAPIHost)
        read(Settings.deviceAPIPort)
        read(Settings.deviceAPIPublicURL)
        read(Settings.deviceAPICertificate)
        read(Settings.deviceAPIKey)
        read(Settings.hmsCallbackKeys)
        read(Settings.apiMaxLongPolls)
        read(Settings.tokensBrakeWindow)
        read(Settings.tokensBrakeMinimum)
        read(Settings.tokensBrakeShare)
        read(Settings.storeURL)
        read(Settings.storePassword)
        read(Settings.storeConnections)
        read(Settings.storePath)
        read(Settings.storeRetention)
        read(Settings.limitBurst)
        read(Settings.limitInterval)
        read(Settings.limitPending)
        read(Settings.limitDenials)
        read(Settings.limitDenialWindow)
        read(Settings.limitQuiet)
        read(Settings.entranceAccount)
        read(Settings.entitiesPerSecond)
        read(Settings.outboxLimit)
        for endpoint in PushProviders.endpoints { read(Settings.url(of: endpoint)) }
        read(Settings.providersProxy)
        read(Settings.providersCAFile)
        read(Settings.pushDeadline)
        read(Settings.pushMaxInFlight)
        read(Settings.pushMaxConnections)
        read(Settings.pushThreads)
        read(Settings.brokerPartitions)
        read(Settings.simulatorHost)
        read(Settings.simulatorAPNsPort)
        read(Settings.simulatorFCMPort)
        read(Settings.simulatorHMSPort)
        read(Settings.simulatorControlPort)
        read(Settings.simulatorNames)
        read(Settings.simulatorCAFile)
        read(Settings.phoneAPI)
        read(Settings.phoneSimulator)
        read(Settings.phoneAccount)
        read(Settings.phoneAuthToken)
        read(Settings.phoneService)
        read(Settings.phoneCount)
        read(Settings.phoneIdentity)
        read(Settings.phoneBehaviour)
        read(Settings.phonePlatform)
        if let kafka = try? settings.kafka() { _ = (kafka.sessionTimeout, kafka.drainBound) }
        return (taken, refused)
    }
}
