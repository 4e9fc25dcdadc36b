import AsyncHTTPClient
import ChallengeModel
import DeviceKit
import Foundation
import KafkaClient
import Logging
import NIOCore
import Simulators
import TestSupport
import Testing
import Wire

/// What docs/devices.md asks of an app, done by phones against real processes.
@Suite("The device protocol, end to end", .timeLimit(.minutes(10)))
struct PhoneTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private static func ask(_ cluster: BeckonCluster, _ service: String, _ message: String) async throws -> String {
        try await cluster.backend.createChallenge(
            serviceSID: service, identity: OnePhone.identity, ChallengeDraft(message: message)
        ).sid
    }

    private static func isPushed(_ challenge: String, _ cluster: BeckonCluster) async throws -> Bool {
        let pushes = try await cluster.client.execute(
            HTTPClientRequest(url: cluster.control + "/pushes"), timeout: .seconds(60))
        return String(buffer: try await pushes.body.collect(upTo: 10 << 20)).contains(challenge)
    }

    @Test("what is shown goes, through the long poll, when it is canceled or another device has answered")
    func withdrawn() async throws {
        try await OnePhone.withMore(.ignores) { cluster, service, pool, phone in
            let canceled = try await Self.ask(cluster, service, "Pay 10?")
            let answered = try await Self.ask(cluster, service, "Pay 20?")
            for sid in [canceled, answered] {
                try await phone.log.wait(for: .displayed, challenge: sid, deadline: .seconds(90))
                try await phone.log.wait(for: .confirmed, challenge: sid, deadline: .seconds(90))
            }
            _ = try await cluster.backend.cancel(
                serviceSID: service, identity: OnePhone.identity, challengeSID: canceled)
            let first = try await phone.log.wait(for: .withdrawn, challenge: canceled)
            #expect(first.detail == "expired" && phone.shown == [answered])

            let late = try await Self.ask(cluster, service, "Pay 30?")
            try await phone.log.wait(for: .displayed, challenge: late, deadline: .seconds(90))
            // Enrolled after `answered` was asked: it is asked by `together` only.
            let other = try await pool.enrol(
                serviceSID: service, identity: OnePhone.identity, name: "tablet",
                profile: PhonePool.Profile(behaviour: .offline))
            let together = try await Self.ask(cluster, service, "Pay 40?")
            try await phone.log.wait(for: .displayed, challenge: together, deadline: .seconds(90))
            await other.open()
            let second = try await phone.log.wait(for: .withdrawn, challenge: together)
            #expect(second.detail == "approved" && Set(phone.shown) == [answered, late])
            #expect(phone.log.count(.fetched) == 0, "only the open sheets asked")
        }
    }

    @Test("notifications that were turned off are told beside the next receipt: one event, and the factor shows it")
    func notificationsOff() async throws {
        try await OnePhone.with(.answers) { cluster, service, phone in
            let events = cluster.names[.events]
            let factor = phone.device.registration.factorSID
            try await TopicTail.following([events], kafka: cluster.kafka, logger: logger) { tail in
                func told() -> Int {
                    tail.records(of: events).count { record in
                        let text = String(decoding: record.value, as: UTF8.self)
                        return text.contains("factor.notifications_disabled") && text.contains(factor)
                    }
                }
                func isEnabled() async throws -> Bool? {
                    let path = "/v2/Services/\(service)/Entities/\(OnePhone.identity)/Factors/\(factor)"
                    let (_, body) = try await cluster.backend.request("GET", path: path)
                    return try JSONParser.parse(body, .reply)["config"]?["notifications_enabled"].flatMap {
                        $0 == .boolean(true) ? true : $0 == .boolean(false) ? false : nil
                    }
                }
                phone.become(.notificationsOff)
                try await phone.log.wait(for: .online, count: 2, deadline: .seconds(90))
                #expect(try await isEnabled() != false, "no code of the app has run since")
                for message in ["Sign in?", "Sign in again?"] {
                    let challenge = try await Self.ask(cluster, service, message)
                    try await phone.log.wait(for: .answered, challenge: challenge, deadline: .seconds(90))
                    try await phone.log.wait(for: .confirmed, challenge: challenge) { $0.detail == "background no" }
                }
                let event = try await phone.log.wait(for: .reported)
                #expect(event.detail == "notifications off beside a receipt" && phone.log.count(.reported) == 1)
                #expect(try await isEnabled() == false)
                let end = ContinuousClock.now + .seconds(90)
                while told() < 1, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
                #expect(told() == 1)
                phone.become(.answers)
                try await phone.log.wait(for: .reported, count: 2)
                #expect(try await isEnabled() == true)
            }
        }
    }

    @Test("a challenge that was never pushed is found by the poll when the app is opened")
    func neverPushed() async throws {
        try await OnePhone.with(.closed) { cluster, service, phone in
            cluster.kill("dispatcher")
            let challenge = try await Self.ask(cluster, service, "Is this really you?")
            await phone.open()
            let read = try await cluster.backend.challenge(
                serviceSID: service, identity: OnePhone.identity, sid: challenge)
            #expect(read.status == "approved" && read.factorSID == phone.device.registration.factorSID)
            #expect(phone.log.count(.polled) == 1 && phone.log.count(.pushed) == 0)
            #expect(try await !Self.isPushed(challenge, cluster))
        }
    }

    @Test("installed again, a phone takes the place of its old factor, which is deleted and asked nothing")
    func reinstalled() async throws {
        try await OnePhone.with(.answers) { cluster, service, phone in
            let old = phone.device
            phone.become(.reinstalls)
            try await phone.log.wait(for: .enrolled, deadline: .seconds(90))
            try await phone.log.wait(for: .online, count: 2, deadline: .seconds(90))
            await #expect {
                try await old.pendingChallenges()
            } throws: { error in
                if case .refused(let refusal)? = error as? DeviceError { refusal.status == 401 } else { false }
            }
            let path = "/v2/Services/\(service)/Entities/\(OnePhone.identity)/Factors"
            let (_, body) = try await cluster.backend.request("GET", path: path)
            let factors = try JSONParser.parse(body, .reply)["factors"]?.elements ?? []
            let new = phone.device.registration.factorSID
            #expect(factors.map { $0["sid"]?.stringValue } == [new] && new != old.registration.factorSID)
            let challenge = try await Self.ask(cluster, service, "Still you?")
            let read = try await cluster.backend.challenge(
                serviceSID: service, identity: OnePhone.identity, sid: challenge, until: ["approved"],
                deadline: .seconds(30))
            #expect(read.factorSID == new && phone.displayedCount == 1)
        }
    }
}
