import ChallengeModel
import Foundation
import Testing

@testable import Challenges

/// What a store promises to the webhook relay.
extension ConformanceCase {
    static let webhooks = [
        ConformanceCase("only the first stored event of a lane is due, and its end makes the next one due") { world in
            let webhook = try await world.webhook()
            let events = (0..<3).map { world.delivery(webhook, subject: "YC1", event: "e\($0)") }
            let other = world.delivery(webhook, subject: "YC2", event: "other")
            try await world.store.storeDeliveries(
                events, failure: .status, dueMs: World.t0 + 1000, nowMs: World.t0)
            try await world.store.storeDeliveries([other], failure: nil, dueMs: World.t0, nowMs: World.t0)
            // Again: after a crash the same records are read again.
            try await world.store.storeDeliveries(events, failure: nil, dueMs: World.t0, nowMs: World.t0)
            #expect(try await world.due(webhook, World.t0).map(\.eventID) == ["other"])
            #expect(try await world.due(webhook, World.t0 + 1000).map(\.eventID) == ["other", "e0"])
            #expect(try await world.store.hasWaitingDeliveries(webhook: webhook.sid, subject: "YC1"))
            let first = try #require(try await world.due(webhook, World.t0 + 1000).last)
            #expect(first.failures == 1 && first.status == 503)
            try await world.store.end(first, .failed(.status, dueMs: World.t0 + 9000), nowMs: World.t0 + 1000)
            #expect(try await world.due(webhook, World.t0 + 1000).map(\.eventID) == ["other"])
            try await world.store.bringForwardDeliveries(partition: 3, webhook: webhook.sid, nowMs: World.t0 + 2000)
            let again = try #require(try await world.due(webhook, World.t0 + 2000).last)
            #expect(again.failures == 2)
            try await world.store.end(again, .delivered, nowMs: World.t0 + 2000)
            #expect(try await world.due(webhook, World.t0 + 2000).map(\.eventID).contains("e1"))
            #expect(try await world.store.webhookBacklogs().map(\.partition) == [3])
        },
        ConformanceCase("an event that is given up is listed, lets the next one go, and can be sent again") { world in
            let webhook = try await world.webhook()
            let events = (0..<2).map { world.delivery(webhook, subject: "YC1", event: "e\($0)") }
            try await world.store.storeDeliveries(events, failure: .status, dueMs: World.t0, nowMs: World.t0)
            let first = try #require(try await world.due(webhook, World.t0).first)
            try await world.store.end(first, .failed(.status, dueMs: nil), nowMs: World.t0)
            #expect(try await world.due(webhook, World.t0).map(\.eventID) == ["e1"])
            #expect(try await world.listed(webhook, .exhausted) == ["e0"])
            #expect(try await world.drain().events.map(\.type).contains("beckon.webhook.exhausted"))
            let count = try await world.store.replayWebhook(
                webhook.sid, account: world.account, service: world.service, .event("e0"), nowMs: World.t0)
            #expect(count == 1)
            #expect(try await world.auditDetail("webhook.replayed") == #"{"events":1}"#)
            #expect(try await world.listed(webhook, .waiting).sorted() == ["e0", "e1"])
            try await world.store.sweepWebhooks(nowMs: World.t0 + 30 * StorePolicy.dayMs)
            #expect(try await world.listed(webhook, .waiting).count == 2)
        },
        ConformanceCase("a webhook that fails for days is warned about and disabled; enabling it keeps its events held")
        {
            world in
            let webhook = try await world.webhook()
            try await world.store.storeDeliveries(
                [world.delivery(webhook, subject: "YC1", event: "e0")], failure: .status, dueMs: World.t0,
                nowMs: World.t0)
            for number in 0..<30 {
                let nowMs = World.t0 + Int64(number) * StorePolicy.dayMs / 4
                guard let delivery = try await world.due(webhook, nowMs).first else { break }
                try await world.store.end(delivery, .failed(.status, dueMs: nowMs), nowMs: nowMs)
            }
            let endpoint = try await world.store.webhookEndpoint(
                webhook.sid, account: world.account, service: world.service)
            #expect(endpoint?.health.disabledReason == "failing")
            #expect(try await world.auditDetail("webhook.disabled") == #"{"disabled_reason":"failing"}"#)
            let types = try await world.drain().events.map(\.type)
            #expect(types.filter { $0 == "beckon.webhook.failing" }.count == 2)
            #expect(types.filter { $0 == "beckon.webhook.disabled" }.count == 1)
            let late = World.t0 + 9 * StorePolicy.dayMs
            try await world.store.storeDeliveries(
                [world.delivery(webhook, subject: "YC2", event: "late")], failure: nil, dueMs: late, nowMs: late)
            #expect(try await world.listed(webhook, .held) == ["late"])
            var change = WebhookChange()
            change.isEnabled = true
            _ = try await world.store.updateWebhook(
                webhook.sid, account: world.account, service: world.service, change, nowMs: late)
            let route = try #require(
                try await world.store.webhookRoutes(account: world.account, service: world.service, nowMs: late).first)
            #expect(route.isServed)
        },
        ConformanceCase("what a relay sets aside stays due while its webhook is served, and is held when it is not") {
            world in
            let webhook = try await world.webhook()
            try await world.store.storeDeliveries(
                [world.delivery(webhook, subject: "YC1", event: "e0")], failure: nil, dueMs: World.t0, nowMs: World.t0)
            let delivery = try #require(try await world.due(webhook, World.t0).first)
            // The relay has not heard that the webhook is enabled again.
            try await world.store.setAside(delivery, nowMs: World.t0)
            #expect(try await world.due(webhook, World.t0).map(\.eventID) == ["e0"])
            var change = WebhookChange()
            change.isEnabled = false
            _ = try await world.store.updateWebhook(
                webhook.sid, account: world.account, service: world.service, change, nowMs: World.t0)
            try await world.store.setAside(delivery, nowMs: World.t0)
            #expect(try await world.listed(webhook, .held) == ["e0"])
            #expect(try await world.due(webhook, World.t0).isEmpty)
        },
        ConformanceCase("a webhook that failed and answers again is told as recovered, and a test event names it") {
            world in
            let webhook = try await world.webhook()
            try await world.store.storeDeliveries(
                [world.delivery(webhook, subject: "YC1", event: "e0")], failure: .status, dueMs: World.t0,
                nowMs: World.t0)
            for second in 1...5 {
                let nowMs = World.t0 + Int64(second) * 1000
                let delivery = try #require(try await world.due(webhook, nowMs).first)
                let fate: WebhookFate = second == 5 ? .delivered : .failed(.status, dueMs: nowMs)
                try await world.store.end(delivery, fate, nowMs: nowMs)
            }
            let id = try await world.store.testWebhook(
                webhook.sid, account: world.account, service: world.service, nowMs: World.t0 + 9000)
            let drained = try await world.drain()
            #expect(
                try drained.eventTypes.filter { $0.hasPrefix("webhook.") } == [
                    "webhook.failing", "webhook.recovered", "webhook.test",
                ])
            #expect(try drained.event(.webhookTest).id == id)
        },
        ConformanceCase("a webhook's secret is sealed, and two are valid while it is rotated") { world in
            let webhook = try await world.webhook()
            func secrets(_ nowMs: Int64) async throws -> [[UInt8]] {
                try await world.store.webhookRoutes(account: world.account, service: world.service, nowMs: nowMs)
                    .first?.secrets ?? []
            }
            #expect(try await secrets(World.t0) == [])
            var made: [[UInt8]] = []
            for _ in 0..<2 {
                made.append(
                    try await world.store.rotateWebhookSecret(
                        webhook.sid, account: world.account, service: world.service, keepFormerMs: 1000,
                        nowMs: World.t0))
            }
            #expect(try await secrets(World.t0) == [made[1], made[0]])
            #expect(try await secrets(World.t0 + 1000) == [made[1]])
            #expect(try await world.store.reseal().failed == 0)
            #expect(
                try await world.store.deleteWebhook(
                    webhook.sid, account: world.account, service: world.service, nowMs: World.t0))
            #expect(try await secrets(World.t0) == [])
        },
        ConformanceCase("attempts are listed with the newest first, and go by age") { world in
            let webhook = try await world.webhook()
            try await world.store.recordAttempts(
                (0..<3).map { number in
                    WebhookAttempt(
                        webhook: webhook.sid, eventID: "e\(number)", eventType: "challenge.approved",
                        atMs: World.t0 + Int64(number), tookMs: 5, status: 200, code: 0, reason: "")
                }, nowMs: World.t0)
            func listed() async throws -> [String] {
                try await world.store.webhookAttempts(
                    webhook.sid, account: world.account, service: world.service, page: PageRequest()
                ).items.map(\.eventID)
            }
            #expect(try await listed() == ["e2", "e1", "e0"])
            try await world.store.sweepWebhooks(nowMs: World.t0 + 3 * StorePolicy.dayMs + 2)
            #expect(try await listed() == ["e2"])
        },
    ]
}

extension WebhookFailure {
    fileprivate static let status = WebhookFailure(status: 503, code: 11_200, reason: "status")
}

extension World {
    fileprivate func webhook() async throws -> Webhook {
        try await store.createWebhook(
            NewWebhook(
                account: account, service: service, friendlyName: "hook", eventTypes: ["*"],
                url: "https://hooks.example.com/"), nowMs: World.t0)
    }

    fileprivate func delivery(_ webhook: Webhook, subject: String, event: String) -> WebhookDelivery {
        WebhookDelivery(
            account: account, service: service, webhook: webhook.sid, subject: subject, partition: 3, eventID: event,
            eventType: "challenge.approved", event: Array("{}".utf8), traceparent: nil, nowMs: World.t0)
    }

    fileprivate func due(_ webhook: Webhook, _ nowMs: Int64) async throws -> [WebhookDelivery] {
        try await store.dueWebhookDeliveries(partition: 3, webhook: webhook.sid, nowMs: nowMs, limit: 10)
    }

    /// The detail of the newest audit event with this action.
    fileprivate func auditDetail(_ action: String) async throws -> String? {
        try await store.auditEvents(AuditFilter(account: account), page: PageRequest()).items
            .first { $0.action == action }?.detail
    }

    fileprivate func listed(_ webhook: Webhook, _ state: WebhookDelivery.State) async throws -> [String] {
        try await store.webhookDeliveries(
            webhook.sid, account: account, service: service, state: state, page: PageRequest()
        ).items.map(\.eventID)
    }
}
