import ChallengeModel
import Foundation
import Testing

@testable import Challenges

/// What a store promises about alerts.
extension ConformanceCase {
    static let alerts = [
        ConformanceCase(
            "events of one cause within an hour are one alert with a count; other causes have their own", since: 15
        ) {
            world in
            let people = try await world.people(3, "alert")
            let times: [Int64] = [0, 500, 2000]
            for (person, at) in zip(people, times) {
                _ = try await world.store.recordDelivery(
                    world.refused(person, code: 52_134, reason: "BadDeviceToken"), nowMs: World.t0 + at)
            }
            let alert = try #require(try await world.alerts().first)
            #expect(try await world.alerts().count == 1)
            #expect(alert.code == 52_134 && alert.level == .error && alert.resource == people[0].challenge.rawValue)
            // The second came within a second of the first.
            #expect(alert.count == 2 && alert.createdAtMs == World.t0 && alert.updatedAtMs == World.t0 + 2000)
            #expect(alert.details.words["reason"] == "BadDeviceToken")
            #expect(alert.details.words["factor_sid"] == people[0].factor.sid.rawValue)
            // Read again, as after a rebalance.
            _ = try await world.store.recordDelivery(
                world.refused(people[0], code: 52_134, reason: "BadDeviceToken"), nowMs: World.t0 + 9000)
            #expect(try await world.alerts().first?.count == 2)
            _ = try await world.store.recordDelivery(
                world.refused(people[0], dispatch: "t1", code: 52_138, reason: "PayloadTooLarge"),
                nowMs: World.t0 + 3000)
            _ = try await world.store.recordDelivery(
                world.refused(people[0], dispatch: "t2", code: 52_134, reason: "BadDeviceToken"),
                nowMs: World.t0 + 3_600_000)
            #expect(try await world.alerts().map(\.code) == [52_134, 52_138, 52_134])
            #expect(try await world.alerts().map(\.count) == [1, 1, 2])
        },
        ConformanceCase(
            "a refused credential is the credential's alert, and a challenge that reached nobody has one", since: 15
        ) {
            world in
            let person = try await world.people(1, "fault")[0]
            for (index, dispatch) in ["c", "t1"].enumerated() {
                _ = try await world.store.recordDelivery(
                    world.outcome(
                        person.challenge, person.factor, .credentialFault, dispatch: dispatch,
                        reason: "InvalidProviderToken"), nowMs: World.t0 + Int64(index) * 2000)
            }
            let fault = try #require(try await world.alerts().first)
            #expect(try await world.alerts().count == 1)
            #expect(fault.resource == world.apn.rawValue && fault.count == 2 && fault.service == world.service)
            for (index, attempts) in [UInt32(4), 0].enumerated() {
                let other = try await world.people(1, "nobody\(index)")[0]
                _ = try await world.store.recordDelivery(
                    world.escalation(other, attempts: attempts), nowMs: World.t0 + 5000 + Int64(index))
            }
            #expect(try await world.alerts().map(\.code) == [52_301, 52_310, 52_000])
            #expect(try await world.alerts()[1].details.words["fallbacks"] == "sms,totp")
            let texts = try await world.alerts().map { "\($0)" }.joined()
            #expect(!texts.contains("nobody0-1"), "an alert names no person")
        },
        ConformanceCase("many push tokens that die at once are an alert about their credential", since: 15) { world in
            let people = try await world.people(12, "dying")
            for (index, person) in people.enumerated() {
                _ = try await world.store.recordDelivery(
                    world.outcome(person.challenge, person.factor, .tokenDead, reason: "Unregistered"),
                    nowMs: World.t0 + Int64(index) * 2000)
            }
            let alerts = try await world.alerts()
            #expect(alerts.count == 2)
            #expect(alerts.filter { $0.resource == world.apn.rawValue }.map(\.count) == [3])
            #expect(alerts.last?.count == 12)
        },
        ConformanceCase(
            "a failing webhook has an alert for each kind of failure, with what its receiver said", since: 15
        ) {
            world in
            let webhook = try await world.webhook(url: "https://hooks.example.com/a?key=secret#rc=2")
            let failure = WebhookFailure(status: 503, code: 11_200, reason: "status", body: "try\u{0} later\n")
            try await world.store.storeDeliveries(
                [world.delivery(webhook, "e0")], failure: failure, dueMs: World.t0, nowMs: World.t0)
            let first = try #require(try await world.alerts().first)
            #expect(first.code == 11_200 && first.level == .warning && first.resource == webhook.sid.rawValue)
            #expect(first.details.requestURL == "https://hooks.example.com/a")
            #expect(first.details.responseStatus == 503 && first.details.responseBody == "try  later ")
            #expect(first.details.words["event_id"] == "e0")
            var stored = try #require(try await world.due(webhook))
            // A fault of ours is none of the receiver's.
            try await world.store.end(
                stored, .failed(WebhookFailure(status: 0, code: 11_205, reason: "busy", isOurs: true), dueMs: World.t0),
                nowMs: World.t0 + 1500)
            try await world.store.end(stored, .failed(failure, dueMs: World.t0), nowMs: World.t0 + 2000)
            try await world.store.end(
                stored, .failed(WebhookFailure(status: 0, code: 11_210, reason: "refused"), dueMs: World.t0),
                nowMs: World.t0 + 3000)
            let refused = try #require(try await world.alerts().first)
            #expect(refused.code == 11_210 && refused.details.requestURL == nil && refused.details.requestMethod == nil)
            stored = try #require(try await world.due(webhook))
            try await world.store.end(stored, .failed(failure, dueMs: nil), nowMs: World.t0 + 4000)
            // Given up, and one more try of the same kind.
            #expect(try await world.alerts().map(\.code) == [60_330, 11_210, 11_200])
            #expect(try await world.alerts().map(\.count) == [1, 1, 3])
            try await world.store.storeAborted(
                world.delivery(webhook, "e1"),
                WebhookFailure(status: 410, code: 11_200, reason: "disabled-by-receiver", isDisabling: true),
                nowMs: World.t0 + 5000)
            let disabled = try await world.alerts().filter { $0.details.words["disabled_reason"] == "receiver" }
            #expect(disabled.map(\.code) == [60_330])
        },
        ConformanceCase("a new alert waits for the debugger webhook, whose own failures are no alert", since: 15) {
            world in
            let debugger = try await world.store.setDebugger(
                url: "https://old.example.com/", account: world.account, nowMs: World.t0)
            let changed = try await world.store.setDebugger(
                url: "https://debug.example.com/", account: world.account, nowMs: World.t0)
            #expect(changed.sid == debugger.sid && changed.url == "https://debug.example.com/")
            #expect(try await world.store.debugger(world.account) == changed)
            let routes = try await world.store.webhookRoutes(
                account: world.account, service: world.service, nowMs: World.t0)
            #expect(
                routes.map(\.webhook.sid) == [debugger.sid] && routes[0].isServed && !routes[0].wants("push.failed"))
            #expect(routes[0].authToken == world.authToken)
            let person = try await world.people(1, "told")[0]
            for dispatch in ["c", "t1"] {
                _ = try await world.store.recordDelivery(
                    world.refused(person, dispatch: dispatch, code: 52_134, reason: "BadDeviceToken"), nowMs: World.t0)
            }
            func due() async throws -> [WebhookDelivery] {
                try await world.store.dueWebhookDeliveries(
                    partition: 0, webhook: debugger.sid, nowMs: World.t0 + 10_000, limit: 10)
            }
            let delivery = try #require(try await due().first)
            #expect(try await due().count == 1)
            let alert = try #require(try await world.alerts().first)
            let fields = Dictionary(
                uniqueKeysWithValues: try DebuggerMessage.fields(of: delivery.event).map { ($0.name, $0.value) })
            #expect(fields["Sid"] == alert.sid.rawValue && fields["AccountSid"] == world.account.rawValue)
            #expect(fields["Level"] == "Error" && fields["PayloadType"] == "application/json")
            #expect(fields["Payload"]?.contains(#""error_code":"52134""#) == true)
            #expect(fields["Payload"]?.contains(person.challenge.rawValue) == true)
            for dueMs in [World.t0, nil] {
                try await world.store.end(
                    delivery,
                    .failed(
                        WebhookFailure(status: 0, code: 11_210, reason: "refused", isDisabling: true), dueMs: dueMs),
                    nowMs: World.t0)
            }
            #expect(try await due().isEmpty)
            #expect(try await world.alerts().map(\.code) == [52_134])
            #expect(try await world.drain().events.filter { $0.type.hasPrefix("beckon.webhook.") }.isEmpty)
            #expect(try await world.store.deleteDebugger(world.account, nowMs: World.t0))
            #expect(try await !world.store.deleteDebugger(world.account, nowMs: World.t0))
            #expect(
                try await world.store.webhookRoutes(account: world.account, service: world.service, nowMs: World.t0)
                    .isEmpty)
        },
        ConformanceCase(
            "alerts are listed by page, level, resource and time, of one account, and go after 30 days", since: 15
        ) {
            world in
            let webhook = try await world.webhook(url: "https://hooks.example.com/")
            for hour in 0..<3 {
                try await world.store.storeDeliveries(
                    [world.delivery(webhook, "e\(hour)")],
                    failure: WebhookFailure(status: 500 + hour, code: 11_200, reason: "status"), dueMs: World.t0,
                    nowMs: World.t0 + Int64(hour) * 3_600_000)
            }
            try await world.store.reportRefusedURL(
                "WebhookUrl", digest: [1, 2], account: world.account, service: nil, nowMs: World.t0 + 3 * 3_600_000)
            let filter = AlertFilter(account: world.account)
            var (found, cursor): ([Int?], String?) = ([], nil)
            repeat {
                let page = try await world.store.alerts(filter, page: PageRequest(size: 3, after: cursor))
                found += page.items.map(\.details.responseStatus)
                cursor = page.next
            } while cursor != nil
            #expect(found == [nil, 502, 501, 500])
            func count(_ change: (inout AlertFilter) -> Void) async throws -> Int {
                var filter = filter
                change(&filter)
                return try await world.store.alerts(filter, page: PageRequest()).items.count
            }
            #expect(try await count { $0.level = .error } == 1)
            #expect(try await count { $0.level = .warning } == 3)
            #expect(try await count { $0.resource = webhook.sid.rawValue } == 3)
            #expect(try await count { $0.fromMs = World.t0 + 3_600_000 } == 3)
            #expect(try await count { $0.untilMs = World.t0 + 3_600_000 } == 1)
            let other = try await world.store.createAccount(nowMs: World.t0).sid
            #expect(try await world.store.alerts(AlertFilter(account: other), page: PageRequest()).items.isEmpty)
            let sid = try #require(try await world.alerts().first).sid
            #expect(try await world.store.alert(sid, account: other) == nil)
            #expect(try await world.store.alert(sid, account: world.account)?.code == 11_210)
            try await world.store.keepHouse(limit: 100, nowMs: World.t0 + 30 * StorePolicy.dayMs + 3_600_000)
            #expect(try await world.alerts().compactMap(\.details.responseStatus) == [502])
        },
        ConformanceCase("an account has so many alerts in an hour, and one for all further causes", since: 15) {
            world in
            func raise(_ causes: Range<Int>, at nowMs: Int64) async throws {
                try await world.store.write(nowMs) { decision in
                    for cause in causes {
                        try decision.raise(
                            RaisedAlert(
                                account: world.account, service: world.service, cause: "cause \(cause)", resource: "",
                                code: 52_000, text: "", details: AlertDetails()))
                    }
                }
            }
            let most = Decision.alertsPerSpan
            try await raise(0..<most, at: World.t0)
            try await raise(0..<(most + 5), at: World.t0 + 2000)
            var filter = AlertFilter(account: world.account)
            filter.fromMs = World.t0 + 1
            let more = try await world.store.alerts(filter, page: PageRequest()).items
            #expect(more.count == 1 && more[0].level == .warning)
            try await raise(most..<(most + 1), at: World.t0 + 3_600_001)
            filter.fromMs = World.t0 + 3_600_000
            #expect(try await world.store.alerts(filter, page: PageRequest()).items.map(\.level) == [.error])
        },
        ConformanceCase("a webhook may need its receiver's consent until it is told otherwise or deleted", since: 15) {
            world in
            var new = NewWebhook(
                account: world.account, service: world.service, friendlyName: "hook", eventTypes: ["*"],
                url: "https://hooks.example.com/")
            new.format = .json
            new.needsConsent = true
            let webhook = try await world.store.createWebhook(new, nowMs: World.t0)
            func needs() async throws -> [Bool] {
                try await world.store.webhookRoutes(account: world.account, service: world.service, nowMs: World.t0)
                    .map(\.needsConsent)
            }
            #expect(try await needs() == [true])
            for (isNeeded, expected) in [(nil, true), (false, false), (true, true)] {
                var change = WebhookChange()
                change.needsConsent = isNeeded
                _ = try await world.store.updateWebhook(
                    webhook.sid, account: world.account, service: world.service, change, nowMs: World.t0)
                #expect(try await needs() == [expected])
            }
            #expect(
                try await world.store.deleteWebhook(
                    webhook.sid, account: world.account, service: world.service, nowMs: World.t0))
            #expect(try await needs() == [])
        },
    ]
}

extension World {
    fileprivate func alerts() async throws -> [Alert] {
        try await store.alerts(AlertFilter(account: account), page: PageRequest()).items
    }

    fileprivate func refused(
        _ person: (factor: Factor, challenge: ChallengeSID), dispatch: String = "c", code: UInt32, reason: String
    ) -> DeliveryFact {
        guard
            case .outcome(var outcome) = outcome(
                person.challenge, person.factor, .rejected, dispatch: dispatch, reason: reason)
        else { preconditionFailure("an outcome") }
        outcome.errorCode = code
        return .outcome(outcome)
    }

    fileprivate func escalation(
        _ person: (factor: Factor, challenge: ChallengeSID), attempts: UInt32
    ) -> DeliveryFact {
        var escalation = Escalation()
        escalation.accountSid = account.rawValue
        escalation.serviceSid = service.rawValue
        escalation.challengeSid = person.challenge.rawValue
        escalation.identity = person.factor.identity
        escalation.fallbacks = ["sms", "totp"]
        escalation.attempts = attempts
        escalation.atMs = World.t0
        return .escalation(escalation)
    }

    fileprivate func webhook(url: String) async throws -> Webhook {
        try await store.createWebhook(
            NewWebhook(account: account, service: service, friendlyName: "hook", eventTypes: ["*"], url: url),
            nowMs: World.t0)
    }

    fileprivate func delivery(_ webhook: Webhook, _ event: String) -> WebhookDelivery {
        WebhookDelivery(
            account: account, service: service, webhook: webhook.sid, subject: event, partition: 3, eventID: event,
            eventType: "challenge.approved", event: Array("{}".utf8), traceparent: nil, nowMs: World.t0)
    }

    fileprivate func due(_ webhook: Webhook) async throws -> WebhookDelivery? {
        try await store.dueWebhookDeliveries(
            partition: 3, webhook: webhook.sid, nowMs: World.t0 + 60_000, limit: 10
        ).first
    }
}
