import ChallengeModel
import Foundation
import KafkaClient
import PushGateway

extension Examiner {
    /// Servers and brokers that are looked at.
    private static let mostBrokers = 16

    /// The way to the brokers first; when there is one, everything behind it side by side.
    func lookAtCluster() async -> Note {
        guard let kafka = examination.kafka else { return { _ in } }
        let way = await take(.kafka) { await lookAtBrokers(kafka) }
        var facts = Facts(examination, nowMs: 0)
        way(&facts)
        guard facts.kafka.value?.isReached == true else {
            let because = "no connection to Kafka"
            return { facts in
                way(&facts)
                facts.topics = .not(because)
                facts.topicSettings = .not(because)
                facts.groups = .not(because)
                facts.reads = .not(because)
                facts.configurationTopic = .not(because)
            }
        }
        let inspection = KafkaInspection(configuration: kafka, logger: logger)
        async let topics = take(.topics) { await lookAtTopics(inspection) }
        async let settings = take(.topicSettings) { await lookAtSettings(inspection) }
        async let groups = take(.groups) { await lookAtGroups(inspection) }
        async let reads = take(.reads) { await lookAtReads(inspection) }
        async let configuration = take(.configurationTopic) { await lookAtConfigurationTopic() }
        let notes = await [way, topics, settings, groups, reads, configuration]
        return { facts in for note in notes { note(&facts) } }
    }

    private func lookAtBrokers(_ kafka: KafkaConfiguration) async -> Note {
        let inspection = KafkaInspection(configuration: kafka, logger: logger)
        let servers = kafka.bootstrapServers.split(separator: ",").prefix(Self.mostBrokers).map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        var seen = KafkaFacts()
        seen.servers = await reach(servers, inspection)
        let named = Set(seen.servers.flatMap(\.brokers.values)).subtracting(servers).sorted()
        seen.advertised = await reach(Array(named.prefix(Self.mostBrokers)), inspection)
        for reach in seen.servers + seen.advertised where reach.obstacle == .certificate {
            guard let said = await handshake(reach.address, kafka) else { continue }
            seen.certificates.append(KafkaCertificate(address: reach.address, said: said))
        }
        let facts = seen
        return { $0.kafka = .seen(facts) }
    }

    private func reach(_ addresses: [String], _ inspection: KafkaInspection) async -> [KafkaReach] {
        let patience = patience
        return await withTaskGroup(of: (Int, KafkaReach).self) { group in
            for (index, address) in addresses.enumerated() {
                group.addTask { (index, await inspection.reach(address, patience: patience)) }
            }
            var found: [(Int, KafkaReach)] = []
            for await one in group { found.append(one) }
            return found.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// librdkafka gives one text for a wrong name and for an unknown authority; our own handshake tells them apart.
    private func handshake(_ address: String, _ kafka: KafkaConfiguration) async -> String? {
        guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
            return nil
        }
        let look = try? await TLSLook.at(
            host: String(address[..<colon]), port: port, caFile: kafka.properties["ssl.ca.location"],
            patience: patience)
        if case .certificate(let said) = look { return said }
        return nil
    }

    // MARK: Behind the way

    private func lookAtTopics(_ inspection: KafkaInspection) async -> Note {
        let names = Topic.allCases.map { examination.topics[$0] }
        do {
            let topics = try await inspection.topics(names, patience: patience)
            return { $0.topics = .seen(topics) }
        } catch {
            return { $0.topics = .not("\(error)") }
        }
    }

    /// Why the settings of topics and the members of groups are not looked at on the stand-in.
    private static let standIn = "the embedded broker has no admin API"

    private func lookAtSettings(_ inspection: KafkaInspection) async -> Note {
        guard examination.kafka?.isEmbedded == false else { return { $0.topicSettings = .not(Self.standIn) } }
        do {
            let settings = try await inspection.settings(
                of: Topic.allCases.map { examination.topics[$0] }, patience: patience)
            return { $0.topicSettings = .seen(settings) }
        } catch {
            return { $0.topicSettings = .not("the brokers do not tell the topics' settings: \(error)") }
        }
    }

    private func lookAtGroups(_ inspection: KafkaInspection) async -> Note {
        guard examination.kafka?.isEmbedded == false else { return { $0.groups = .not(Self.standIn) } }
        let ids = Array(Set(examination.roles.flatMap(\.groups))).sorted()
        guard !ids.isEmpty else { return { $0.groups = .not("no role with a consumer group is examined") } }
        do {
            let groups = try await inspection.groups(ids, patience: patience)
            return { $0.groups = .seen(groups) }
        } catch {
            return { $0.groups = .not("the brokers do not tell the groups: \(error)") }
        }
    }

    private func lookAtReads(_ inspection: KafkaInspection) async -> Note {
        let topics = Set(examination.roles.flatMap { TopicRules.read(by: $0.role) }).map { examination.topics[$0] }
        do {
            let refused = try await inspection.refusedReads(of: topics.sorted(), patience: patience)
            return { $0.reads = .seen(refused) }
        } catch {
            return { $0.reads = .not("\(error)") }
        }
    }

    private func lookAtConfigurationTopic() async -> Note {
        guard let read = examination.roles.lazy.compactMap(\.readCredentials).first else {
            return { $0.configurationTopic = .not("no dispatcher is examined") }
        }
        let reading = await read(patience)
        return { $0.configurationTopic = .seen(reading) }
    }
}
