// An OIDC provider (oidc-provider) on 127.0.0.1 for clients of Kafka: node oidc.mjs PORT. It prints its discovery document, and serves.
// A token is for the audience that a client names as its scope: `kafka`, or `other`.
import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'ann',
    client_secret: 'ann-secret',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  }],
  scopes: ['kafka', 'other'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:kafka',
      useGrantedResource: () => true,
      getResourceServerInfo: (context) => ({
        scope: 'kafka other',
        audience: context.oidc.params.scope,
        accessTokenFormat: 'jwt',
        accessTokenTTL: 3600,
      }),
    },
  },
});

provider.listen(port, '127.0.0.1', async () => {
  const answer = await fetch(`${issuer}/.well-known/openid-configuration`);
  console.log(JSON.stringify(await answer.json()));
});
