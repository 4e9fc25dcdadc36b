import ChallengeModel
import DeviceKit
import Foundation
import KafkaClient
import Simulators
import Wire

extension Tour {
    static let steps: [Step] = [
        Step(title: "An approval after a visible push") { tour in
            try await tour.withPhones("tour-visible-1", [.init(behaviour: .answers)]) { phones in
                let question = try await tour.ask("tour-visible-1", ChallengeDraft(message: "Sign in from Lisbon?"))
                try await question.expectAccepted("c")
                try await question.expectReceipt(.visiblePush)
                try await question.expectStatus(.approved)
                let factor = try await question.read().factorSID
                guard factor == phones[0].device.registration.factorSID else {
                    throw StepFailed("the API names \(factor ?? "nobody") as who answered")
                }
                question.tellStory()
            }
        },
        Step(title: "A phone that loses the first push and confirms the second attempt") { tour in
            try await tour.withPhones("tour-lossy-1", [.init(behaviour: .drops(1))]) { phones in
                var draft = ChallengeDraft(message: "Change your address?")
                draft.expectedLatencyMs = 1000
                let question = try await tour.ask("tour-lossy-1", draft)
                try await question.expectAccepted("c")
                try await question.expectAccepted("t1")
                let receipt = try await question.expectReceipt(.visiblePush)
                guard receipt.dispatchID == "t1" else {
                    throw StepFailed("the receipt is for \(receipt.dispatchID), expected t1")
                }
                try await question.expectStatus(.approved)
                guard phones[0].displayedCount == 1 else {
                    throw StepFailed("the person saw \(phones[0].displayedCount) notifications, expected 1")
                }
                question.tellStory()
            }
        },
        Step(title: "A phone with notifications off, reached by the background push") { tour in
            try await tour.withPhones("tour-hidden-1", [.init(behaviour: .notificationsOff)]) { _ in
                let question = try await tour.ask("tour-hidden-1", ChallengeDraft(message: "Add a new payee?"))
                try await question.expectAccepted("c", .background)
                let receipt = try await question.expectReceipt(.backgroundPush)
                guard receipt.shown == .no else {
                    throw StepFailed("the receipt says shown \(receipt.shown), expected no")
                }
                try await question.expectStatus(.approved)
                question.tellStory()
            }
        },
        Step(
            title: "An app that is closed: it keeps the ids of the push, and on opening fetches exactly that challenge"
        ) { tour in
            try await tour.withPhones("tour-closed-1", [.init(behaviour: .closed)]) { phones in
                let phone = phones[0]
                let question = try await tour.ask("tour-closed-1", ChallengeDraft(message: "Is this really you?"))
                try await phone.log.wait(for: .kept, challenge: question.sid)
                try await question.expectReceipt(.visiblePush)
                guard phone.inbox.entries.map(\.challengeSID) == [question.sid] else {
                    throw StepFailed("the inbox holds \(phone.inbox.entries.map(\.challengeSID))")
                }
                guard phone.log.count(.fetched) == 0 else { throw StepFailed("the closed app fetched something") }
                question.tell("kept 1 id while closed; the person opens the app")
                await phone.open()
                let fetched = phone.log.events.filter { $0.kind == .fetched }.compactMap(\.challengeSID)
                guard fetched == [question.sid] else { throw StepFailed("it fetched \(fetched)") }
                try await question.expectStatus(.approved)
                question.tellStory()
            }
        },
        Step(title: "A phone that no push reaches, found by polling") { tour in
            try await tour.withPhones(
                "tour-polling-1", [.init(provider: .fcm, behaviour: .polls, pollInterval: .milliseconds(500))]
            ) { _ in
                let question = try await tour.ask("tour-polling-1", ChallengeDraft(message: "Reset your password?"))
                try await question.expectReceipt(.poll)
                try await question.expectStatus(.approved)
                question.tellStory()
            }
        },
        Step(title: "A denial, over FCM") { tour in
            try await tour.withPhones("tour-denial-1", [.init(provider: .fcm, behaviour: .denies)]) { _ in
                let question = try await tour.ask(
                    "tour-denial-1", ChallengeDraft(message: "Pay 900 EUR to a stranger?"))
                try await question.expectAccepted("c")
                try await question.expectStatus(.denied)
                question.tellStory()
            }
        },
        Step(title: "A forged answer is refused, and the question stays open") { tour in
            try await tour.withPhones("tour-forged-1", [.init(behaviour: .forges)]) { phones in
                let phone = phones[0]
                let question = try await tour.ask("tour-forged-1", ChallengeDraft(message: "Sign in from nowhere?"))
                let refusal = try await phone.log.wait(for: .refused, challenge: question.sid)
                guard refusal.detail.contains("403 code 60324") else {
                    throw StepFailed("refused with \(refusal.detail)")
                }
                guard try await question.read().status == "pending" else {
                    throw StepFailed("it is not pending any more")
                }
                question.tell("signed with another key: \(refusal.detail); still pending")
                phone.become(.answers)
                try await phone.log.wait(for: .online, count: 2)
                _ = try await tour.playground.backend.resend(
                    serviceSID: tour.playground.serviceSID, identity: question.identity, challengeSID: question.sid)
                try await question.expectStatus(.approved)
                question.tellStory()
            }
        },
        Step(title: "A person with two phones, one of them deleted") { tour in
            try await tour.withPhones(
                "tour-two-1", [.init(behaviour: .deleted), .init(provider: .fcm, behaviour: .answers)]
            ) { phones in
                let question = try await tour.ask("tour-two-1", ChallengeDraft(message: "Sign in on a new laptop?"))
                let dead = phones[0].device.registration.factorSID
                let outcome: PushOutcome = try await question.expect("dead token of the deleted phone") { fact in
                    if case .pushed(let outcome) = fact, outcome.factorSid == dead, outcome.disposition == .tokenDead {
                        outcome
                    } else {
                        nil
                    }
                }
                guard outcome.providerStatus == 410 else { throw StepFailed("APNs answered \(outcome.providerStatus)") }
                try await question.expectStatus(.approved)
                guard try await question.read().factorSID == phones[1].device.registration.factorSID else {
                    throw StepFailed("the API does not name the phone that is left")
                }
                let isTold = await tour.watch.wait(for: dead, within: .seconds(15)) { entries in
                    entries.contains {
                        if case .event(let event) = $0.fact { event.type == "beckon.factor.unreachable" } else { false }
                    } ? true : nil
                }
                guard isTold == true else { throw StepFailed("nobody was told that the deleted phone is unreachable") }
                question.tell("factor.unreachable: the deleted phone is not pushed to any more")
                question.tellStory()
            }
        },
        Step(title: "A person who cannot be reached: the backend hears of it before the expiry, with the fall-backs") {
            tour in
            try await tour.withPhones("tour-away-1", [.init(behaviour: .offline)]) { _ in
                var draft = ChallengeDraft(message: "Confirm the transfer?")
                draft.expectedLatencyMs = 1000
                draft.maxAttempts = 2
                draft.fallbacks = ["sms", "voice"]
                draft.expiresAtMs = Timestamp.nowMs() + 20_000
                let question = try await tour.ask("tour-away-1", draft)
                let event: CloudEvent = try await question.expect("event challenge.undelivered", within: .seconds(19)) {
                    fact in
                    if case .event(let event) = fact, event.type == "beckon.challenge.undelivered" {
                        event
                    } else {
                        nil
                    }
                }
                guard event.data["fallbacks"] == .list([.string("sms"), .string("voice")]) else {
                    throw StepFailed(
                        "the event names \(String(describing: event.data["fallbacks"])), expected sms, voice")
                }
                guard let time = Timestamp.epochMs(event.time), let expiry = draft.expiresAtMs, time < expiry else {
                    throw StepFailed("the event came too late: \(event.time)")
                }
                guard try await question.read().status == "pending" else {
                    throw StepFailed("it ended before its time")
                }
                question.tell(
                    "challenge.undelivered \((draft.expiresAtMs ?? 0) - time) ms before the expiry; fall-backs sms, voice"
                )
                question.tellStory()
            }
        },
        Step(title: "A challenge published with plain Kafka tooling as JSON") { tour in
            try await tour.withPhones("tour-kafka-1", [.init(behaviour: .answers)]) { _ in
                let asked = ContinuousClock.now
                let request = "tour-\(UUID().uuidString.lowercased())"
                try await KafkaTool.produce(
                    #"{"request_id":"\#(request)","service_sid":"\#(tour.playground.serviceSID)","identity":"tour-kafka-1","message":"Pay 12 EUR?","fallbacks":["sms"]}"#,
                    to: tour.cluster.names[.requests], brokers: tour.cluster.kafka.bootstrapServers)
                let sid = try await tour.challenge(madeFor: request, within: .seconds(10))
                let question = Question(tour: tour, identity: "tour-kafka-1", sid: sid, asked: asked)
                try await question.expectStatus(.approved)
                question.tell("kcat wrote request \(request.prefix(13))…, it became \(sid)")
                question.tellStory()
            }
        },
    ]

    /// The challenge that `challenge.created` names beside a request id.
    private func challenge(madeFor request: String, within deadline: Duration) async throws -> String {
        let end = ContinuousClock.now + deadline
        while ContinuousClock.now < end {
            if let event = watch.events.first(where: {
                $0.type == "beckon.challenge.created" && $0.data["request_id"] == .string(request)
            }) {
                return event.subject
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        let rejected = watch.events.first {
            $0.type == "beckon.request.rejected" && $0.data["request_id"] == .string(request)
        }
        throw StepFailed(
            "no challenge.created for \(request) within \(deadline.short)\(rejected.map { "; rejected: \($0.data)" } ?? "")"
        )
    }
}

/// Plain Kafka tooling: `kcat`.
enum KafkaTool {
    static func produce(_ value: String, to topic: String, brokers: String) async throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["kcat", "-b", brokers, "-P", "-t", topic, "-H", "content-type=application/json"]
        let input = Pipe()
        process.standardInput = input
        let errors = Pipe()
        process.standardError = errors
        let status = try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do {
                try process.run()
                input.fileHandleForWriting.write(Data(value.utf8))
                try input.fileHandleForWriting.close()
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        guard status == 0 else {
            let text = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
            throw StepFailed(
                status == 127
                    ? "kcat is missing: apt-get install kcat" : "kcat ended with \(status): \(text.prefix(200))")
        }
    }
}
