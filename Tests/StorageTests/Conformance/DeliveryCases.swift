import ChallengeModel
import Challenges
import Testing

extension World {
    /// An outcome as a dispatcher would write it.
    func outcome(
        _ challenge: ChallengeSID, _ factor: Factor, _ disposition: Disposition, dispatch: String = "c",
        reason: String = "", cause: PushCause = .unspecified, diedAtMs: Int64 = 0, credential: CredentialSID? = nil
    ) -> DeliveryFact {
        var outcome = PushOutcome()
        outcome.accountSid = account.rawValue
        outcome.serviceSid = service.rawValue
        outcome.challengeSid = challenge.rawValue
        outcome.factorSid = factor.sid.rawValue
        outcome.dispatchID = dispatch
        outcome.kind = .visible
        outcome.disposition = disposition
        outcome.reason = reason
        outcome.cause = cause
        outcome.platform = factor.platform
        outcome.credentialSid = (credential ?? apn).rawValue
        outcome.registeredAtMs = factor.registeredAtMs
        outcome.tokenDiedAtMs = diedAtMs
        outcome.atMs = Self.t0 + 1
        return .outcome(outcome)
    }

    func receipt(
        _ challenge: ChallengeSID, _ factor: FactorSID, _ shown: Shown = .yes, channel: ReceiptChannel = .visiblePush
    ) -> DeliveryFact {
        var receipt = Receipt()
        receipt.accountSid = account.rawValue
        receipt.challengeSid = challenge.rawValue
        receipt.factorSid = factor.rawValue
        receipt.channel = channel
        receipt.shown = shown
        receipt.receivedAtMs = Self.t0 + 2
        receipt.receiptToken = "not to be kept"
        return .receipt(receipt)
    }

    /// So many people with one phone and one challenge each.
    func people(_ count: Int, _ name: String) async throws -> [(factor: Factor, challenge: ChallengeSID)] {
        var made: [(Factor, ChallengeSID)] = []
        for index in 0..<count {
            let identity = "\(name)-\(10_000 + index)"
            let factor = try await factor(identity: identity)
            made.append((factor, try await challenge(identity: identity).sid))
        }
        return made
    }

    /// As it is now; nil when it is gone.
    func now(_ factor: Factor) async throws -> Factor? {
        try await store.factor(factor.sid, account: account, service: service, identity: factor.identity)
    }
}

extension ConformanceCase {
    static let delivery: [ConformanceCase] = [
        ConformanceCase("a device is pushed to once until it has sent a receipt that is not a poll") { world in
            let factor = try await world.factor()
            let first = try await world.challenge().sid
            #expect(try await world.drain().dispatches.map { $0.targets.map(\.pushOnce) } == [[true]])
            #expect(
                try await world.store.recordDelivery(world.receipt(first, factor.sid, channel: .poll), nowMs: World.t0))
            let second = try await world.challenge().sid
            #expect(try await world.drain().dispatches.map { $0.targets.map(\.pushOnce) } == [[true]])
            #expect(try await world.now(factor)?.isSilent == true)
            #expect(try await world.store.recordDelivery(world.receipt(second, factor.sid), nowMs: World.t0))
            _ = try await world.challenge()
            _ = try await world.store.createNotification(challenge: first, nowMs: World.t0)
            #expect(try await world.drain().dispatches.map { $0.targets.map(\.pushOnce) } == [[false], [false]])
            #expect(try await world.now(factor)?.isSilent == false)
            // Another device of the person, and an app that was installed again with the same push token.
            let other = try await world.factor()
            let again = try await world.factor(token: factor.pushToken)
            #expect(try await world.now(factor) == nil)
            #expect(try await world.now(other)?.isSilent == true)
            #expect(try await world.now(again)?.isSilent == false)
        },
        ConformanceCase("a setting of the challenge or its service requests redelivery, also with the default's value")
        {
            world in
            _ = try await world.factor()
            func targets(_ new: NewChallenge) async throws -> [Bool] {
                let made = try await world.store.create(new, nowMs: World.t0)
                _ = try await world.store.createNotification(challenge: made.challenge.sid, nowMs: World.t0)
                return try await world.drain().dispatches.flatMap { $0.targets.map(\.pushOnce) }
            }
            #expect(try await targets(world.newChallenge()) == [true, true])
            for edit: (inout Redelivery) -> Void in [
                { $0.maxAttempts = 4 }, { $0.expectedLatencyMs = 8000 }, { $0.adaptive = true }, { $0.confirm = .each },
            ] {
                var new = world.newChallenge()
                edit(&new.redelivery)
                #expect(try await targets(new) == [false, false])
            }
            var asked = world.newChallenge()
            asked.redelivery.requested = true
            #expect(try await targets(asked) == [true, true], "the Producer decides")
            var change = ServiceChange()
            change.policy = [.maxAttempts(4)]
            _ = try await world.store.updateService(
                world.service, account: world.account, change, nowMs: World.t0)
            #expect(try await targets(world.newChallenge()) == [false, false])
        },
        ConformanceCase("a delivery fact is kept once, without tokens, bounded, and goes with its challenge") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge(expiresAtMs: World.t0 + 1000).sid
            let facts = [
                world.outcome(challenge, factor, .deferred, reason: "ServiceUnavailable"),
                world.outcome(challenge, factor, .accepted, dispatch: "t1"), world.receipt(challenge, factor.sid),
            ]
            for fact in facts { #expect(try await world.store.recordDelivery(fact, nowMs: World.t0)) }
            for fact in facts { #expect(try await !world.store.recordDelivery(fact, nowMs: World.t0 + 9)) }
            let kept = try await world.store.deliveryFacts(of: challenge)
            #expect(kept.count == 3)
            let receipts = kept.compactMap { if case .receipt(let receipt) = $0 { receipt } else { nil } }
            #expect(receipts.map(\.receiptToken) == [""] && receipts.map(\.receivedAtMs) == [World.t0 + 2])
            var foreign = PushOutcome()
            foreign.accountSid = AccountSID.generate(nowMs: 1).rawValue
            foreign.challengeSid = challenge.rawValue
            #expect(try await !world.store.recordDelivery(.outcome(foreign), nowMs: World.t0))
            #expect(
                try await !world.store.recordDelivery(
                    world.receipt(.generate(nowMs: 1), factor.sid), nowMs: World.t0))
            for number in 0..<500 {
                let fact = world.outcome(challenge, factor, .accepted, dispatch: "t\(number + 10)")
                _ = try await world.store.recordDelivery(fact, nowMs: World.t0)
            }
            #expect(try await world.store.deliveryFacts(of: challenge).count == 400)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 1000)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 31 * 24 * 3_600_000)
            #expect(try await world.store.deliveryFacts(of: challenge).isEmpty)
        },
        ConformanceCase("the version of a challenge changes with an answer, a resend and a fact, and nothing else") {
            world in
            let factor = try await world.factor()
            let challenge = try await world.challenge().sid
            let other = try await world.challenge().sid
            func version() async throws -> String? { try await world.store.challengeVersions([challenge])[0] }
            var versions = [try await version()]
            #expect(try await version() == versions[0])
            _ = try await world.store.createNotification(challenge: challenge, nowMs: World.t0)
            versions.append(try await version())
            _ = try await world.store.recordDelivery(world.receipt(challenge, factor.sid), nowMs: World.t0)
            versions.append(try await version())
            _ = try await world.store.answer(world.answer(challenge, factor.sid), nowMs: World.t0)
            versions.append(try await version())
            #expect(Set(versions).count == 4 && !versions.contains(nil))
            _ = try await world.store.answer(world.answer(other, factor.sid), nowMs: World.t0)
            #expect(try await version() == versions[3])
            let several = try await world.store.challengeVersions([.generate(nowMs: 1), challenge])
            #expect(several == [nil, versions[3]])
        },
        ConformanceCase(
            "the version of a challenge changes when it falls silent, and when it stays so for longer",
            limits: {
                var limits = ChallengeLimits.none
                limits.denials = 1
                return limits
            }()
        ) { world in
            let factor = try await world.factor()
            var made: [ChallengeSID] = []
            for _ in 0..<3 { made.append(try await world.challenge(expiresAtMs: World.t0 + 3_600_000).sid) }
            func version() async throws -> String? { try await world.store.challengeVersions([made[0]])[0] }
            var versions = [try await version()]
            for (number, sid) in made[1...].enumerated() {
                let denial = world.answer(sid, factor.sid, approve: false)
                _ = try await world.store.answer(denial, nowMs: World.t0 + Int64(number))
                versions.append(try await version())
            }
            #expect(Set(versions).count == 3 && !versions.contains(nil), "\(versions)")
            #expect(try await world.stored(made[0])?.quietUntilMs != nil)
        },
        ConformanceCase("a dead token stops the pushes to its factor alone, once; a new token starts them again") {
            world in
            let dead = try await world.factor(token: "dead")
            let alive = try await world.factor(token: "alive", nowMs: World.t0 + 1)
            let challenge = try await world.challenge().sid
            _ = try await world.drain()
            let fact = world.outcome(challenge, dead, .tokenDead, reason: "Unregistered", diedAtMs: World.t0 + 5)
            #expect(try await world.store.recordDelivery(fact, nowMs: World.t0 + 10))
            _ = try await world.store.recordDelivery(fact, nowMs: World.t0 + 11)
            _ = try await world.store.recordDelivery(
                world.outcome(challenge, dead, .tokenDead, dispatch: "t1"), nowMs: World.t0 + 12)
            let events = try await world.drain().events
            #expect(events.map(\.id) == ["\(dead.sid)/factor.unreachable/\(World.t0)"])
            #expect(events.first?.data["reason"] == "Unregistered")
            #expect(try await world.now(dead)?.unreachableAtMs == World.t0 + 10)
            #expect(try await world.now(alive)?.unreachableAtMs == nil)
            let second = try await world.challenge()
            let targets = try await world.drain().dispatches[0].targets
            #expect(targets.map(\.platform) == [.noPush, .apn] && targets.map(\.pushToken) == ["", "alive"])
            // It polls and answers as before.
            #expect(try await world.stored(second.sid, factor: dead.sid) != nil)
            // The same token, handed out by the system anew.
            var change = FactorChange()
            change.pushToken = "dead"
            _ = try await world.store.updateFactor(dead.sid, change, nowMs: World.t0 + 20)
            #expect(try await world.now(dead)?.registeredAtMs == World.t0 + 20)
            #expect(try await world.drain().deviceChanges.map(\.target.pushToken) == ["dead", "dead"])
            _ = try await world.challenge()
            #expect(try await world.drain().dispatches[0].targets.map(\.pushToken) == ["dead", "alive"])
            // What is said of the former registration kills no more.
            _ = try await world.store.recordDelivery(
                world.outcome(second.sid, dead, .tokenDead, diedAtMs: World.t0 + 5), nowMs: World.t0 + 30)
            #expect(try await world.now(dead)?.unreachableAtMs == nil)
        },
        ConformanceCase("an unreachable factor goes 30 days after its last signed request") { world in
            let day: Int64 = 24 * 3_600_000
            let dead = try await world.factor()
            let challenge = try await world.challenge().sid
            _ = try await world.store.recordDelivery(
                world.outcome(challenge, dead, .tokenDead, reason: "UNREGISTERED"), nowMs: World.t0)
            let polling = try #require(try await world.now(dead))
            try await world.store.noteSigned(by: polling, nowMs: World.t0 + 5 * day)
            _ = try await world.drain()
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 30 * day)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 35 * day - 1)
            #expect(try await world.now(dead) != nil)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 35 * day)
            #expect(try await world.now(dead) == nil)
            #expect(try await world.drain().event(.factorDeleted).data["reason"] == "unreachable")
        },
        ConformanceCase("all tokens of a credential dying at once stop nobody's pushes and are told once") { world in
            let people = try await world.people(30, "dying")
            let other = try await world.people(1, "other")
            _ = try await world.drain()
            for (index, person) in people.enumerated() {
                _ = try await world.store.recordDelivery(
                    world.outcome(person.challenge, person.factor, .tokenDead, reason: "Unregistered"),
                    nowMs: World.t0 + Int64(index) * 1000)
            }
            let events = try await world.drain().events
            let dying = events.filter { $0.type == "beckon.tokens.dying" }
            #expect(dying.count == 1 && dying.first?.data["credential_sid"] == .string(world.apn.rawValue))
            #expect(events.count { $0.type == "beckon.factor.unreachable" } < 10)
            for person in people { #expect(try await world.now(person.factor)?.unreachableAtMs == nil) }
            // Another credential's tokens are believed meanwhile.
            _ = try await world.store.recordDelivery(
                world.outcome(other[0].challenge, other[0].factor, .tokenDead, credential: world.fcm),
                nowMs: World.t0 + 30_000)
            #expect(try await world.now(other[0].factor)?.unreachableAtMs != nil)
            _ = try await world.store.sweep(limit: 1000, nowMs: World.t0 + 30 * 24 * 3_600_000 + 60_000)
            for person in people { #expect(try await world.now(person.factor) != nil, "nothing is deleted") }
            #expect(try await world.now(other[0].factor) == nil, "but the other credential's")
            // Half an hour of quiet ends it.
            let (late, _) = people[0]
            let challenge = try await world.challenge(
                identity: late.identity, expiresAtMs: World.t0 + 4_000_000, nowMs: World.t0 + 3_600_000
            ).sid
            _ = try await world.store.recordDelivery(
                world.outcome(challenge, late, .tokenDead), nowMs: World.t0 + 3_600_000)
            #expect(try await world.now(late)?.unreachableAtMs == World.t0 + 3_600_000)
        },
        ConformanceCase("nor does anything go where unreachable factors go at once") { world in
            var change = ServiceChange()
            change.policy = [.unreachableFactors(.atOnce)]
            _ = try await world.store.updateService(
                world.service, account: world.account, change, nowMs: World.t0)
            let (people, other) = (try await world.people(30, "dying"), try await world.people(1, "other"))
            for person in people + other {
                let credential = person.factor.sid == other[0].factor.sid ? world.fcm : world.apn
                _ = try await world.store.recordDelivery(
                    world.outcome(person.challenge, person.factor, .tokenDead, credential: credential),
                    nowMs: World.t0)
            }
            for minutes in [31, 62, 31 * 24 * 60] as [Int64] {
                _ = try await world.store.sweep(limit: 1000, nowMs: World.t0 + minutes * 60_000)
                for person in people { #expect(try await world.now(person.factor) != nil, "\(minutes)") }
                #expect(try await world.now(other[0].factor) == nil, "what is due goes")
            }
        },
        ConformanceCase(
            "single deaths hold the brake only while fewer pushes are accepted than deaths make an incident"
        ) {
            world in
            let minute: Int64 = 60_000
            var deaths: [(credential: CredentialSID, last: (factor: Factor, challenge: ChallengeSID))] = []
            for (name, credential, accepted) in [("mended", world.apn, 10), ("broken", world.fcm, 9)] {
                let people = try await world.people(11, name)
                for person in people.dropLast() {
                    _ = try await world.store.recordDelivery(
                        world.outcome(person.challenge, person.factor, .tokenDead, credential: credential),
                        nowMs: World.t0)
                }
                let person = people[10]
                for at in [10, 20, 29].map({ World.t0 + $0 * minute }) {
                    for number in 0..<accepted {
                        let fact = world.outcome(
                            person.challenge, people[0].factor, .accepted, dispatch: "t\(at)\(number)",
                            credential: credential)
                        #expect(try await world.store.recordDelivery(fact, nowMs: at))
                    }
                    let death = world.outcome(
                        person.challenge, people[1].factor, .tokenDead, dispatch: "t\(at)", credential: credential)
                    #expect(try await world.store.recordDelivery(death, nowMs: at))
                }
                deaths.append((credential, person))
            }
            #expect(try await world.drain().eventTypes.count { $0 == "tokens.dying" } == 2)
            for death in deaths {
                _ = try await world.store.recordDelivery(
                    world.outcome(
                        death.last.challenge, death.last.factor, .tokenDead, dispatch: "t9",
                        credential: death.credential), nowMs: World.t0 + 31 * minute)
            }
            #expect(
                try await world.now(deaths[0].last.factor)?.unreachableAtMs == World.t0 + 31 * minute, "it has ended")
            #expect(try await world.now(deaths[1].last.factor)?.unreachableAtMs == nil, "it holds")
        },
        ConformanceCase("some dead tokens among many accepted pushes are no incident") { world in
            let people = try await world.people(40, "mixed")
            for (index, person) in people.enumerated() {
                let fact = world.outcome(person.challenge, person.factor, index % 3 == 0 ? .tokenDead : .accepted)
                _ = try await world.store.recordDelivery(fact, nowMs: World.t0 + Int64(index))
            }
            let events = try await world.drain().eventTypes
            #expect(!events.contains("tokens.dying"))
            #expect(events.count { $0 == "factor.unreachable" } == 14)
        },
        ConformanceCase("a credential that is refused is told once, and again only after it worked for a while") {
            world in
            let people = try await world.people(1, "fault")
            let (factor, challenge) = people[0]
            _ = try await world.drain()
            func told(_ disposition: Disposition, _ dispatch: String, at minutes: Int64) async throws -> Int {
                _ = try await world.store.recordDelivery(
                    world.outcome(
                        challenge, factor, disposition, dispatch: dispatch, reason: "InvalidProviderToken"),
                    nowMs: World.t0 + minutes * 60_000)
                return try await world.drain().eventTypes.count { $0 == "credential.failed" }
            }
            #expect(try await told(.credentialFault, "c", at: 0) == 1)
            for number in 1...20 {
                #expect(try await told(.credentialFault, "t\(number)", at: Int64(number) * 60) == 0)
            }
            // Mended, and one worker that has not heard of it yet.
            #expect(try await told(.accepted, "t30", at: 1201) == 0)
            #expect(try await told(.credentialFault, "t31", at: 1201) == 0)
            #expect(try await told(.accepted, "t32", at: 1202) == 0)
            #expect(try await told(.credentialFault, "t33", at: 1300) == 1)
        },
        ConformanceCase("a credential of which the provider knows no token has failed, once; one bad token has not") {
            world in
            let people = try await world.people(25, "wrong")
            _ = try await world.drain()
            for (index, person) in people.enumerated() {
                _ = try await world.store.recordDelivery(
                    world.outcome(
                        person.challenge, person.factor, .rejected, reason: "BadDeviceToken", cause: .tokenUnknown),
                    nowMs: World.t0 + Int64(index) * 1000)
                if index == 5 { #expect(try await world.drain().events.isEmpty) }
            }
            let events = try await world.drain().events
            #expect(events.map(\.type) == ["beckon.credential.failed"])
            #expect(events.first?.subject == world.apn.rawValue)
            #expect(events.first?.data["reason"] == "BadDeviceToken")
            for person in people { #expect(try await world.now(person.factor)?.unreachableAtMs == nil) }
        },
    ]
}
