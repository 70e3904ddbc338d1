// OPC UA servers of Eclipse Milo for tests, many in one process: see ../milo_server.py.
// Reads commands, fields of a line apart by tabs: NUMBER serve FILE (properties of one server), NUMBER write PORT VALUE,
// NUMBER stop PORT; says "done NUMBER" or "failed NUMBER WHY" after each. The end of standard input ends it.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.eclipse.milo.opcua.sdk.core.Reference;
import org.eclipse.milo.opcua.sdk.server.EndpointConfig;
import org.eclipse.milo.opcua.sdk.server.ManagedNamespaceWithLifecycle;
import org.eclipse.milo.opcua.sdk.server.OpcUaServer;
import org.eclipse.milo.opcua.sdk.server.OpcUaServerConfig;
import org.eclipse.milo.opcua.sdk.server.identity.AnonymousIdentityValidator;
import org.eclipse.milo.opcua.sdk.server.identity.CompositeValidator;
import org.eclipse.milo.opcua.sdk.server.identity.UsernameIdentityValidator;
import org.eclipse.milo.opcua.sdk.server.identity.X509IdentityValidator;
import org.eclipse.milo.opcua.sdk.server.items.DataItem;
import org.eclipse.milo.opcua.sdk.server.items.MonitoredItem;
import org.eclipse.milo.opcua.sdk.server.nodes.UaVariableNode;
import org.eclipse.milo.opcua.sdk.server.util.SubscriptionModel;
import org.eclipse.milo.opcua.stack.core.NodeIds;
import org.eclipse.milo.opcua.stack.core.security.CertificateValidator;
import org.eclipse.milo.opcua.stack.core.security.DefaultApplicationGroup;
import org.eclipse.milo.opcua.stack.core.security.DefaultCertificateManager;
import org.eclipse.milo.opcua.stack.core.security.DefaultServerCertificateValidator;
import org.eclipse.milo.opcua.stack.core.security.FileBasedCertificateQuarantine;
import org.eclipse.milo.opcua.stack.core.security.FileBasedTrustListManager;
import org.eclipse.milo.opcua.stack.core.security.MemoryCertificateStore;
import org.eclipse.milo.opcua.stack.core.security.RsaSha256CertificateFactory;
import org.eclipse.milo.opcua.stack.core.security.SecurityPolicy;
import org.eclipse.milo.opcua.stack.core.transport.TransportProfile;
import org.eclipse.milo.opcua.stack.core.types.builtin.DataValue;
import org.eclipse.milo.opcua.stack.core.types.builtin.LocalizedText;
import org.eclipse.milo.opcua.stack.core.types.builtin.Variant;
import org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.UByte;
import org.eclipse.milo.opcua.stack.core.types.enumerated.MessageSecurityMode;
import org.eclipse.milo.opcua.stack.core.types.enumerated.UserTokenType;
import org.eclipse.milo.opcua.stack.core.types.structured.UserTokenPolicy;
import org.eclipse.milo.opcua.stack.core.util.validation.ValidationCheck;
import org.eclipse.milo.opcua.stack.transport.server.tcp.OpcTcpServerTransport;
import org.eclipse.milo.opcua.stack.transport.server.tcp.OpcTcpServerTransportConfig;

public class MiloServer {
  private static final Map<Integer, MiloServer> running = new ConcurrentHashMap<>();

  public static void main(String[] arguments) throws Exception {
    Security.addProvider(new BouncyCastleProvider()); // for Aes256_Sha256_RsaPss
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] fields = line.split("\t");
      try {
        carryOut(fields);
        System.out.println("done " + fields[0]);
      } catch (Exception error) {
        System.out.println("failed " + fields[0] + " " + error);
      }
    }
    System.exit(0);
  }

  private static void carryOut(String[] fields) throws Exception {
    switch (fields[1]) {
      case "serve" -> {
        var options = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(fields[2]))) {
          options.load(reader);
        }
        running.put(Integer.parseInt(options.getProperty("port")), new MiloServer(options));
      }
      case "write" -> running.get(Integer.parseInt(fields[2])).nodes.write(Double.parseDouble(fields[3]));
      case "stop" -> running.remove(Integer.parseInt(fields[2])).server.shutdown().get();
      default -> throw new IllegalArgumentException(fields[1]);
    }
  }

  private final OpcUaServer server;
  private final Nodes nodes;

  private MiloServer(Properties options) throws Exception {
    X509Certificate[] chain = readChain(options.getProperty("certificate"));
    PrivateKey key =
        KeyFactory.getInstance("RSA")
            .generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(options.getProperty("key")))));
    Path pki = Path.of(options.getProperty("pki"));
    var trusted = FileBasedTrustListManager.createAndInitialize(pki);
    var rejected = FileBasedCertificateQuarantine.create(pki.resolve("rejected").resolve("certs"));
    CertificateValidator validator =
        options.getProperty("trust").equals("all")
            ? (certificates, uri, hosts) -> {}
            : new DefaultServerCertificateValidator(trusted, ValidationCheck.ALL_OPTIONAL_CHECKS, rejected);
    var factory =
        new RsaSha256CertificateFactory() {
          @Override
          protected KeyPair createRsaSha256KeyPair() {
            return new KeyPair(chain[0].getPublicKey(), key);
          }

          @Override
          protected X509Certificate[] createRsaSha256CertificateChain(KeyPair pair) {
            return chain;
          }
        };
    var group =
        DefaultApplicationGroup.createAndInitialize(trusted, new MemoryCertificateStore(), factory, validator);
    String password = options.getProperty("password");
    boolean acceptsUsers = options.getProperty("users").equals("all");
    OpcUaServerConfig config =
        OpcUaServerConfig.builder()
            .setApplicationUri(options.getProperty("uri"))
            .setApplicationName(LocalizedText.english("Milo"))
            .setEndpoints(endpoints(options, chain[0]))
            .setCertificateManager(new DefaultCertificateManager(rejected, group))
            .setIdentityValidator(
                new CompositeValidator(
                    AnonymousIdentityValidator.INSTANCE,
                    new UsernameIdentityValidator(
                        each -> each.getUsername().equals("operator") && each.getPassword().equals(password)),
                    new X509IdentityValidator(each -> acceptsUsers)))
            .setProductUri("urn:aurelian-test:milo")
            .build();
    server = new OpcUaServer(config, profile -> new OpcTcpServerTransport(OpcTcpServerTransportConfig.newBuilder().build()));
    nodes = new Nodes(server, Integer.parseInt(options.getProperty("nodes")));
    nodes.startup();
    server.startup().get();
  }

  private static X509Certificate[] readChain(String file) throws Exception {
    try (var stream = new FileInputStream(file)) {
      List<X509Certificate> found = new ArrayList<>();
      CertificateFactory.getInstance("X.509").generateCertificates(stream).forEach(each -> found.add((X509Certificate) each));
      return found.toArray(new X509Certificate[0]);
    }
  }

  /** `endpoints`: POLICY/MODE; `tokens`: anonymous, username:POLICY, certificate:POLICY, without a policy the channel's. */
  private static Set<EndpointConfig> endpoints(Properties options, X509Certificate certificate) {
    var found = new LinkedHashSet<EndpointConfig>();
    for (String each : options.getProperty("endpoints").split(" ")) {
      String[] parts = each.split("/");
      var builder =
          EndpointConfig.newBuilder()
              .setTransportProfile(TransportProfile.TCP_UASC_UABINARY)
              .setBindAddress("127.0.0.1")
              .setBindPort(Integer.parseInt(options.getProperty("port")))
              .setHostname("127.0.0.1")
              .setPath("/milo")
              .setCertificate(certificate)
              .setSecurityPolicy(SecurityPolicy.valueOf(parts[0]))
              .setSecurityMode(MessageSecurityMode.valueOf(parts[1]));
      for (String token : options.getProperty("tokens").split(" ")) {
        String[] named = token.split(":");
        UserTokenType type =
            switch (named[0]) {
              case "username" -> UserTokenType.UserName;
              case "certificate" -> UserTokenType.Certificate;
              default -> UserTokenType.Anonymous;
            };
        String policy = named.length < 2 ? null : SecurityPolicy.valueOf(named[1]).getUri();
        builder.addTokenPolicies(new UserTokenPolicy(token, type, null, null, policy));
      }
      found.add(builder.build());
    }
    return found;
  }

  /** Double variables s=v0 and so on, all 0 at first. */
  private static class Nodes extends ManagedNamespaceWithLifecycle {
    private final SubscriptionModel subscriptions;
    private final List<UaVariableNode> variables = new ArrayList<>();

    Nodes(OpcUaServer server, int count) {
      super(server, "urn:aurelian-test:milo");
      subscriptions = new SubscriptionModel(server, this);
      getLifecycleManager().addLifecycle(subscriptions);
      getLifecycleManager().addStartupTask(() -> add(count));
    }

    private void add(int count) {
      for (int n = 0; n < count; n++) {
        var node =
            new UaVariableNode.UaVariableNodeBuilder(getNodeContext())
                .setNodeId(newNodeId("v" + n))
                .setBrowseName(newQualifiedName("v" + n))
                .setDisplayName(LocalizedText.english("v" + n))
                .setDataType(NodeIds.Double)
                .setTypeDefinition(NodeIds.BaseDataVariableType)
                .build();
        node.setValue(new DataValue(new Variant(0.0)));
        getNodeManager().addNode(node);
        node.addReference(new Reference(node.getNodeId(), NodeIds.Organizes, NodeIds.ObjectsFolder.expanded(), false));
        variables.add(node);
      }
      var hidden =
          new UaVariableNode.UaVariableNodeBuilder(getNodeContext())
              .setNodeId(newNodeId("hidden"))
              .setBrowseName(newQualifiedName("hidden"))
              .setDisplayName(LocalizedText.english("hidden"))
              .setDataType(NodeIds.Double)
              .setTypeDefinition(NodeIds.BaseDataVariableType)
              .setAccessLevel(UByte.valueOf(0))
              .setUserAccessLevel(UByte.valueOf(0))
              .build();
      getNodeManager().addNode(hidden);
    }

    void write(double value) {
      for (UaVariableNode each : variables) each.setValue(new DataValue(new Variant(value)));
    }

    @Override
    public void onDataItemsCreated(List<DataItem> items) {
      subscriptions.onDataItemsCreated(items);
    }

    @Override
    public void onDataItemsModified(List<DataItem> items) {
      subscriptions.onDataItemsModified(items);
    }

    @Override
    public void onDataItemsDeleted(List<DataItem> items) {
      subscriptions.onDataItemsDeleted(items);
    }

    @Override
    public void onMonitoringModeChanged(List<MonitoredItem> items) {
      subscriptions.onMonitoringModeChanged(items);
    }
  }
}
